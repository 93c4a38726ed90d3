"""Looking at stores: can they be read, do they answer, is there room.

Each store has a thread that looks at it again and again, with reads that go to the disk: pages in
memory answer even when the disk is dead. A store that stalls holds up its own thread alone, and how
long it has done so is what is judged.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

from ocaserve.stores import show_path
from ocaserve.stores.answers import EXHAUSTED
from ocaserve.stores.trial import Trial, try_objects

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_OBJECTS = 1  # read at each look; when it cannot be, as many as a worker tries


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a look at a store found. `failure`: why it could not be read; empty if it could.

    path: as it is shown. free, total: bytes. waited_s: since when it has not answered, 0 between
    two looks. device, inode: the folder at the path, 0 if none could be read. unreadable: of
    `tried` objects.
    """

    path: str
    free: int = 0
    total: int = 0
    failure: str = ""
    waited_s: float = 0.0
    device: int = 0
    inode: int = 0
    tried: int = 0
    unreadable: int = 0


def look_at(path: str, most: int = 16, failing_share: float = 0.5) -> StoreFacts:
    """Look, and wait for the disk as long as it takes. An error is a finding.

    Raises OSError when this process or the machine has no means to look.
    most, failing_share: `serve.store_trial_objects`, `serve.store_failing_share`.
    """
    shown = show_path(path)
    try:
        room = os.statvfs(path)
        status = os.stat(path)
        trial = _try(path, most)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise
        return StoreFacts(shown, failure=getattr(error, "strerror", None) or str(error))
    facts = StoreFacts(
        shown, device=status.st_dev, inode=status.st_ino,
        tried=trial.tried, unreadable=trial.unreadable,
    )  # fmt: skip
    if trial.fails(failing_share) and trial.error is not None:
        return replace(facts, failure=trial.error.strerror or str(trial.error))
    if room.f_flag & os.ST_RDONLY:  # full on purpose
        return facts
    return replace(facts, free=room.f_bavail * room.f_frsize, total=room.f_blocks * room.f_frsize)


def _try(path: str, most: int) -> Trial:
    """One object shows that the disk answers; if it cannot be read, others are tried."""
    trial = try_objects(path, _OBJECTS)
    return try_objects(path, most) if trial.unreadable else trial


class StoreWatch:
    """Looks at one store from a thread of its own until told to end."""

    def __init__(self, path: str, look: Callable[[str], StoreFacts] = look_at) -> None:
        self.path = path
        self._look = partial(look, path)
        self._latest: StoreFacts | None = None
        self._began: float | None = None  # the look that is under way
        self._is_hindered = False  # the last look did not come about, and that was said
        self._over = threading.Event()
        # A daemon, because a thread inside a dead disk must not keep the process from ending.
        threading.Thread(target=self._run, name=f"health {path}", daemon=True).start()

    def _run(self) -> None:
        while not self._over.is_set():
            self._began = monotonic()
            try:
                self._latest, self._is_hindered = self._look(), False
            except Exception as error:  # noqa: BLE001 - the thread goes on, with what it knows
                if not self._is_hindered:
                    _log.warning("health: %s cannot be looked at: %s", self.path, error)
                self._is_hindered = True
            self._began = None
            self._over.wait(LOOK_EVERY_S)

    def end(self) -> None:
        """Look no more; does not wait."""
        self._over.set()

    def facts(self, now: float) -> StoreFacts | None:
        """The latest, and how long the present look takes; None before the first has ended."""
        began, latest = self._began, self._latest
        waited_s = 0.0 if began is None else max(0.0, now - began)
        if latest is None:
            shown = show_path(self.path)
            return StoreFacts(shown, waited_s=waited_s) if waited_s > LOOK_EVERY_S else None
        return replace(latest, waited_s=waited_s)
