"""Taking the appliance out of service and back: what is wanted, told to all who must know.

What is wanted (`Intent`) outlives this process in the supervisor's notes, and the appliance in the
state folder, where there is one. From it follows what the workers are told: the answer of
`/healthz`, and whether new requests are turned away.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ocaserve.channel import TakeDuty
from ocaserve.control.duty import DutyRecord
from ocaserve.control.maintenance import MaintenanceWindow, keep_future, running
from ocaserve.lifecycle import DutyState
from ocaserve.link import Link
from ocaserve.settings import Drain
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_NOTE = "intent"
_FILE = "intent.json"


class Intent(Struct, frozen=True, kw_only=True):
    """What the operator wants, now and later."""

    duty: DutyRecord = DutyRecord()
    windows: tuple[MaintenanceWindow, ...] = ()


class Operations:
    """Holds the intent and carries it out.

    find_obstacle: why clients should not be sent here although the operator wants it, in a word;
    None where there is nothing. clock: seconds since the epoch.
    """

    def __init__(
        self,
        intent: Intent,
        settings: Drain,
        link: Link,
        state_file: Path | None,
        find_obstacle: Callable[[], str | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.intent = intent
        self._settings = settings
        self._link = link
        self._state_file = state_file
        self._fault = ""  # why the intent is not in the file, if it is not
        self._find_obstacle = find_obstacle
        self._clock = clock
        self._told: TakeDuty | None = None

    @property
    def duty(self) -> DutyRecord:
        return self.intent.duty

    # -- what the operator asks for --------------------------------------------------------------

    def drain(self, reason: str, *, deadline: float | None, until: float | None) -> None:
        """Take it out of service; `deadline` None is that of the settings."""
        now = self._clock()
        if deadline is None:
            begun = self.duty.since if self.duty.is_draining else now
            deadline = begun + self._settings.deadline_s
        _log.info("draining: %s", reason or "no reason was given")
        self._want(duty=self.duty.drain(reason, now, deadline=deadline, until=until))

    def enable(self) -> None:
        """Take it back; a window that runs now is cancelled."""
        now = self._clock()
        if self.duty.is_draining:
            _log.info("enabled")
        windows = tuple(w for w in self.intent.windows if not w.start <= now < w.end)
        self._want(duty=self.duty.enable(now), windows=windows)

    def add_window(self, start: float, end: float, reason: str) -> MaintenanceWindow:
        """Plan a window, which may begin at once."""
        window = MaintenanceWindow(id=secrets.token_hex(4), start=start, end=end, reason=reason)
        self._want(windows=(*self.intent.windows, window))
        self.look(quiet_s=0.0)
        return next((w for w in self.intent.windows if w.id == window.id), window)

    def cancel_window(self, window: MaintenanceWindow) -> None:
        """Plan it no more; where it has drained the appliance, that is over too."""
        self._want(windows=tuple(w for w in self.intent.windows if w.id != window.id))
        if window.has_begun and self.duty.until == window.end:
            self.enable()

    # -- what time brings ------------------------------------------------------------------------

    def look(self, quiet_s: float) -> None:
        """Do what is due; called once a second. quiet_s: for so long traffic has been low."""
        now = self._clock()
        self._begin_window(now)
        duty = self.duty.look(now, is_quiet=quiet_s >= self._settings.quiet_s)
        if duty.state is not self.duty.state:
            is_over = duty.state is DutyState.ENABLED
            _log.info("%s", "enabled, as planned" if is_over else duty.state.value)
        windows = keep_future(self.intent.windows, now)
        if duty is not self.duty or windows != self.intent.windows:
            self._want(duty=duty, windows=windows)
        elif self._fault:
            self._save()
        self.tell_workers()

    def _begin_window(self, now: float) -> None:
        window = running(self.intent.windows, now)
        if window is None or window.has_begun:
            return
        begun = tuple(
            replace(w, has_begun=True) if w.id == window.id else w for w in self.intent.windows
        )
        self._want(windows=begun)
        if not self.duty.is_draining:  # else the operator was earlier, and decides the end too
            self.drain(window.reason, deadline=None, until=window.end)

    # -- telling ---------------------------------------------------------------------------------

    def _want(self, **changes: Any) -> None:
        intent = replace(self.intent, **changes)
        if intent == self.intent:
            return
        self.intent = intent
        self._link.note(_NOTE, msgspec.to_builtins(intent))
        self._save()
        self.tell_workers()

    def _save(self) -> None:
        """Into the state file. A disk that is full or read-only is tried again once a second."""
        if self._state_file is None:
            return
        fault = _write(self._state_file, self.intent)
        if fault and not self._fault:
            file = self._state_file
            _log.error("control: %s: %s: what is wanted is lost with a restart", file, fault)
        elif self._fault and not fault:
            _log.warning("control: %s is written again", self._state_file)
        self._fault = fault

    def tell_workers(self) -> None:
        """What /healthz is to say, and whether to turn new requests away, if that has changed."""
        obstacle = self._find_obstacle()
        draining = self.duty.state.value if self.duty.is_draining else None
        order = TakeDuty(
            word=draining or obstacle or "serving",
            is_fit=not draining and not obstacle,
            turns_away=self.duty.turns_away(self._clock()),
        )
        if order != self._told:
            self._told = order
            self._link.order_workers("duty", order)


def recall_intent(notes: dict[str, Any], state_file: Path | None) -> Intent:
    """From the supervisor's notes, which are newer, or from the state folder.

    What cannot be read is said, and not used: the appliance then serves.
    """
    if _NOTE in notes:
        try:
            return msgspec.convert(notes[_NOTE], Intent)
        except msgspec.ValidationError as error:  # a version with other words
            _log.error("control: what was noted is not used: %s", error)
    if state_file is not None:
        try:
            return msgspec.json.decode(state_file.read_bytes(), type=Intent)
        except FileNotFoundError:  # nothing was ever wanted
            pass
        except (OSError, msgspec.DecodeError) as error:
            _log.error("control: %s is not used: %s", state_file, error)
    return Intent(duty=DutyRecord(since=time.time()))


def state_file_in(folder: Path | None) -> Path | None:
    """Where the intent lies in a state folder."""
    return None if folder is None else folder / _FILE


def _write(file: Path, intent: Intent) -> str:
    """Whole or not at all, also when the power goes. Returns why it cannot be; empty if it was."""
    try:
        replace_file(file, msgspec.json.encode(intent), durable=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""
