"""Changing to other settings, and back to those before when no worker starts with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from ocaserve.errors import OcaserveError, SettingsError
from ocaserve.supervisor.generation import Generation

_log = logging.getLogger(__name__)


class ReloadUnderWay:
    """At most one that is under way; another one that begins meanwhile takes its place.

    prepare: reads the settings and opens what they listen on, for a generation of this number;
    raises OcaserveError. change_to: makes a generation the wanted one. on_news: `outcome` is
    another.
    """

    def __init__(
        self,
        prepare: Callable[[int], Generation],
        change_to: Callable[[Generation], None],
        on_news: Callable[[], None],
    ) -> None:
        self._prepare = prepare
        self._change_to = change_to
        self._on_news = on_news
        self._fallback: Generation | None = None  # with which all workers served
        self._newest = 0
        self.is_running = False
        self.is_waiting = False
        self.outcome: dict[str, Any] = {}

    def wait(self) -> None:
        """It shall begin later; asked again meanwhile, it is still one."""
        if not self.is_waiting:
            _log.warning("the reload waits for workers of earlier ones to end")
            self._end_with("running")
        self.is_waiting = True

    def begin(self, current: Generation) -> bool:
        """Change to the settings as they are written now; False if they are refused."""
        self.is_waiting = False
        try:
            wanted = self._prepare(self.next_number)
        except OcaserveError as error:
            faults = error.faults if isinstance(error, SettingsError) else (str(error),)
            for fault in faults:
                _log.error("reload refused, the settings stay as they were: %s", fault)
            self._end_with("refused", faults)
            return False
        for why in wanted.missing.values():
            _log.error("%s: goes on without, and tries again", why)
        self.change(current, wanted)
        return True

    @property
    def next_number(self) -> int:
        """Of the next generation."""
        return self._newest + 1

    def change(self, current: Generation, wanted: Generation) -> None:
        """Change to these settings and listeners."""
        _log.info("reloading")
        self._end_with("running")
        self._newest = wanted.number
        self._fallback = self._fallback or current
        self.is_running = True
        self._change_to(wanted)

    def end(self, wanted: Generation) -> str:
        """Every place has its worker of this generation; returns what to say of it."""
        self.is_running = False
        if self._fallback is None:
            return "the settings are as they were"
        self._fallback = None
        self._end_with("done", [*wanted.degraded, *wanted.missing.values()])
        return "reloaded"

    def undo(self, failed: str) -> None:
        """What is named does not start with the new settings: go back to those that work."""
        if self._fallback is None:
            return
        _log.error("reload failed: %s does not start; going back", failed)
        self._end_with("undone", [f"{failed} does not start"])
        before, self._fallback = self._fallback, None
        self._change_to(before)

    def _end_with(self, outcome: str, faults: Sequence[str] = ()) -> None:
        self.outcome = {"outcome": outcome, "at": time.time(), "faults": list(faults)}
        self._on_news()
