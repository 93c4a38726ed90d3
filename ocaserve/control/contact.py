"""Contact with the control plane: since when it has taken no report, and when it counts as lost."""

from __future__ import annotations

import asyncio
import logging
import time

from aiohttp import web

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.state import STATE, ControlState
from ocaserve.health import Timing
from ocaserve.health.contact import Contact, ContactComponent
from ocaserve.routing.live import RouteService
from ocaserve.routing.reporter import Reporter

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_NOTE = "contact"
_AT_ONCE = Timing(rise_s=0.0, fall_s=0.0)  # a silence is long already, and one report ends it


class ContactWatch:
    """Looks at the reporter. That it is lost outlives the process, in the supervisor's notes."""

    def __init__(self, state: ControlState, service: RouteService, reporter: Reporter) -> None:
        self._state = state
        self._service = service
        self._reporter = reporter
        lost_since: float | None = state.notes.get(_NOTE)
        self._began = lost_since or time.monotonic()
        self._inherited = "as before the control process was replaced" if lost_since else ""
        self.look()

    @property
    def contact(self) -> Contact:
        """As it is now."""
        last = self._service.last_contact
        silence = time.monotonic() - (self._began if last is None else last)
        fault = self._reporter.fault or (self._inherited if last is None else "")
        is_lost = bool(fault) and silence > self._state.settings.report.lost_after_s
        return Contact(silence, fault, is_lost)

    def look(self) -> None:
        """Tell the operations: `drain.lost_contact` is about that."""
        state, contact = self._state, self.contact
        was_lost = bool(state.lost_contact)
        state.lost_contact = f"no report was taken: {contact.fault}" if contact.is_lost else ""
        if contact.is_lost == was_lost:
            return
        if contact.is_lost:
            _log.warning("the control plane is lost: no report was taken: %s", contact.fault)
            state.link.note(_NOTE, time.monotonic() - contact.silence_s)
        else:
            _log.warning("the control plane is back")
            state.link.note(_NOTE, None)


def start_watching_contact(
    app: web.Application, service: RouteService, reporter: Reporter | None
) -> None:
    """Have health and the operations know of it. reporter: None where reports are not pushed."""
    state = app[STATE]
    watch = None if reporter is None else ContactWatch(state, service, reporter)
    state.components.append(
        ContactComponent(
            _AT_ONCE, state.settings.health, lambda: None if watch is None else watch.contact
        )
    )
    if watch is None:
        return

    async def keep_looking(_: web.Application) -> None:
        while True:
            watch.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    run_in_background(app, "contact", keep_looking)
