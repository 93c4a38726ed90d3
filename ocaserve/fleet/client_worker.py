"""A worker that answers clients: its answerer, behind the engine of the data plane."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from ocaserve.control.auth import Guard
from ocaserve.fleet.client_desk import Desk
from ocaserve.fleet.client_reference import CLIENTS
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.decision_notes import NoteTaker
from ocaserve.fleet.grant_sheet import GrantSheet
from ocaserve.fleet.picture_files import Gallery, SeenPicture
from ocaserve.fleet.pictures import NOTES
from ocaserve.metrics import CounterSlot
from ocaserve.serving.access_log import AccessLog
from ocaserve.serving.answerer import Answerer, PendingRequest, ShortWay, WantedBody, Way
from ocaserve.serving.engine import Engine
from ocaserve.serving.pool import IoPool
from ocaserve.serving.replies import Replies, Unhurried
from ocaserve.serving.stance import TICK_S
from ocaserve.settings import Settings, Tokens
from ocaserve.settings.control_plane import ControlPlane
from ocaserve.settings.fleet import Fleet, FleetTokens, read_fleet_tokens
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_GC_THRESHOLDS = (50_000, 20, 20)
"""What a decision makes is gone with it. What is kept, rankings above all, has no circles, and to
walk through it takes a tenth of the time, in pauses that clients would notice."""
_TICKS_PER_NOTES = round(1 / TICK_S)
_SWITCH_S = 0.0005  # a thread that reads a picture gives way to clients after so long


def make_client_answerer(
    settings: Settings, slot: CounterSlot, engine: Engine, *, folder: Path, sheet: GrantSheet
) -> Answerer:
    """The answerer of a worker of the control plane. folder: of the run, where pictures are.

    Raises OSError, and SettingsError where tokens or keys cannot be read.
    """
    assert isinstance(settings, ControlPlane), "its workers have its settings"
    fleet = settings.fleet
    log = None
    if fleet.decision_log != "off":
        log = AccessLog(fleet.decision_log, engine.loop, "fleet.decision_log")
        engine.logs.append(log)
    notes = NoteTaker(fleet, log)
    decider = Decider(fleet, sheet.row(slot.number), notes)
    desk = make_desk(decider, read_fleet_tokens(fleet))
    replies = Replies(
        desk.answer,
        engine.clock,
        most_body_bytes=desk.body_bytes,
        unhurried=Unhurried(engine.loop, desk.answer_later),
    )
    gc.set_threshold(*_GC_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_S)
    life = f"{slot.number}-{os.getpid()}-{time.time_ns():x}"
    return ClientAnswerer(decider, replies, Gallery(folder), folder / NOTES / life, engine.loop)


def make_desk(decider: Decider, tokens: FleetTokens) -> Desk:
    """Who may look may also steer; without a token to steer, loopback may."""
    roles = Tokens(read=[*tokens.steer, *tokens.read], operate=tokens.operate)
    guard = Guard(roles, "", is_open=not tokens.steer)
    return Desk(decider, guard, CLIENTS, scheme_of(decider.settings))


def scheme_of(fleet: Fleet) -> str:
    """By which clients reach TCP addresses."""
    return "https" if fleet.certificate else "http"


class ClientAnswerer:
    """Answers by the last picture, looks for the next one, and tells what was decided.

    notes: the file where it does.
    """

    def __init__(
        self,
        decider: Decider,
        replies: Replies,
        gallery: Gallery,
        notes: Path,
        loop: AbstractEventLoop,
    ) -> None:
        self._decider = decider
        self._replies = replies
        self._gallery = gallery
        self._notes = notes
        self._loop = loop
        self._pool = IoPool(loop, "pictures", 1)
        self._ready: Callable[[], None] | None = None
        self._fault = ""
        self._ticks = 0
        self._tasks: set[Task[None]] = set()

    def start(self, ready: Callable[[], None]) -> None:
        """Ready with the first picture, which may be there already."""
        policing = self._decider.policing
        for work in (policing.desk.keep_running(), policing.keep_warm()):
            self._begin(work)
        self._ready = ready
        self._look()

    def tick_once(self) -> None:
        self._look()
        self._decider.look_again()
        self._ticks += 1
        if self._ticks % _TICKS_PER_NOTES == 0:
            self._tell()

    def short_way(self, way: Way) -> ShortWay | None:
        return self._replies.short_way(way)

    def want_body(self, pending: PendingRequest) -> WantedBody | None:
        return self._replies.want_body(pending)

    def answer(self, pending: PendingRequest) -> None:
        self._replies.answer(pending)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """What it raises is logged by the loop's handler of exceptions."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- beside requests -------------------------------------------------------------------------

    def _look(self) -> None:
        if not self._pool.pending and self._gallery.has_news():
            self._pool.submit(self._see, self._show)

    def _see(self) -> object:
        """In a thread. Raises OSError."""
        try:
            return self._gallery.look()
        except msgspec.MsgspecError as error:
            return OSError(f"it is damaged: {error}")

    def _show(self, found: object) -> None:
        if not isinstance(found, SeenPicture):
            if str(found) != self._fault:
                _log.error("a picture cannot be seen, the one before counts: %s", found)
            self._fault = str(found)
            return
        self._fault = ""
        self._decider.show(*found)
        if not self._decider.follows_policies:
            self._begin(self._decider.follow_policies())
        if self._ready is not None:
            self._ready()
            self._ready = None

    def _tell(self) -> None:
        """What was noted, if the control process has read what was told before."""
        if self._pool.pending or self._notes.exists():
            return
        notes = self._decider.take_notes()
        if notes is not None:
            self._pool.submit(
                lambda: replace_file(self._notes, msgspec.msgpack.encode(notes)), self._told
            )

    def _told(self, outcome: object) -> None:
        if isinstance(outcome, OSError):
            _log.error("what was noted of decisions is lost: %s", outcome)
