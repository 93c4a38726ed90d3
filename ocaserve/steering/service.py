"""The routes in the control process: gives the core lines and time, and tells who waits for news.

Everything here is of one event loop. `apply` takes a line within microseconds; what is longer (a
sweep of a million routes) is done in slices between other work. What changed becomes a serial at
the latest `COMMIT_S` later, or at once when somebody asks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from bgp.prefixes import parse_prefix
from ocaserve.settings import Settings
from ocaserve.settings.bgp import Bgp
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.families import Times
from ocaserve.steering.filters import Policy
from ocaserve.steering.mrt import Fault
from ocaserve.steering.replay import ReplayError, read_events, read_recording
from ocaserve.steering.report import (
    Heading,
    is_complete,
    peers_section,
    render_changes,
    render_report,
    totals_section,
)
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.rpki import VrpError, VrpTable, parse_vrps
from ocaserve.steering.sessions import Sessions, Step

_log = logging.getLogger(__name__)

COMMIT_S = 0.02  # changes within this time are one serial
_TICK_S = 1.0
_SLICE_S = 0.002  # of long work, then others have their turn
_RECORDS_A_SLICE = 64
_FAMILY_NUMBERS = {"ipv4": 4, "ipv6": 6}


def policy_of(bgp: Bgp) -> Policy:
    """The filters that the settings ask for."""
    return Policy(
        lengths={
            4: (bgp.shortest_ipv4, bgp.longest_ipv4),
            6: (bgp.shortest_ipv6, bgp.longest_ipv6),
        },
        refuses_bogons=bgp.refuse_bogons,
        allowed_bogons=tuple(parse_prefix(each) for each in bgp.allow_bogons),
        longest_path=bgp.longest_path,
        excludes_rpki_invalid=bgp.rpki_invalid == "exclude",
        families={
            each.address: frozenset(_FAMILY_NUMBERS[name] for name in each.families)
            for each in bgp.neighbor
        },
        max_prefixes={each.address: each.max_prefixes for each in bgp.neighbor},
    )


class RouteService:
    """The table, its sessions and its changes.

    sections: what else a report tells, by name; each is asked once a second and must be quick.
    ask_refresh: called where lines are missing. is_fed: whether ExaBGP's feeder is connected.
    """

    def __init__(self, settings: Settings, ask_refresh: Callable[[], None] | None = None) -> None:
        self.settings = settings
        self.log = ChangeLog(secrets.token_hex(8))
        self.table = RoutingTable(policy_of(settings.bgp), self.log.mark)
        self.sessions = Sessions(self.table, Times(stale_s=settings.bgp.stale_s))
        self.sections: dict[str, Callable[[], Any]] = {}
        self.ask_refresh = ask_refresh
        self.is_fed: Callable[[], bool] | None = None
        self.vrps: VrpTable | None = None
        self.vrps_fault = ""
        self.last_contact: float | None = None  # of the control plane, on the monotonic clock
        self.values: dict[str, Any] = {
            "peers": peers_section(self.sessions, self.expected),
            "totals": totals_section(self.sessions),
        }
        self._seen_version = 0
        self._as_of = time.time()
        self._news: asyncio.Future[None] | None = None
        self._is_committing = self._is_working = False
        self._vrps_stamp: tuple[int, int] | None = None

    @property
    def expected(self) -> list[str]:
        """The addresses of the configured peers."""
        return [each.address for each in self.settings.bgp.neighbor]

    # -- what comes in ---------------------------------------------------------------------------

    def apply(self, line: bytes) -> None:
        """A line of ExaBGP's or of the feeder's; the sink of a feed."""
        self._follow(self.sessions.apply(line, time.time()))

    async def play(self, path: str) -> None:
        """All that a recording tells, as if routers told it now."""
        _log.warning("routes: told by the recording %s, not by routers", path)
        try:
            data = await asyncio.to_thread(read_recording, path)
            for place, told in enumerate(read_events(data, self.settings.bgp.local_as)):
                if isinstance(told, Fault):
                    _log.warning("routes: %s: record at byte %d: %s", path, told.offset, told.why)
                elif isinstance(told, bytes):
                    self.apply(told)
                else:
                    self._follow(self.sessions.apply_event(*told, time.time()))
                if place % _RECORDS_A_SLICE == 0:
                    await asyncio.sleep(0)
        except ReplayError as error:
            _log.error("routes: bgp.recording: %s", error)

    def lose(self) -> None:
        """ExaBGP is gone: what it told is stale until it is back, or too old."""
        self._follow(self.sessions.lose("ExaBGP is gone", time.time()))

    async def run(self) -> None:
        """What time brings, for as long as the appliance runs."""
        while True:
            await self._read_vrps()
            self._follow(self.sessions.tick(time.time()))
            self._ask_sections()
            self._schedule()
            await asyncio.sleep(_TICK_S)

    def _follow(self, step: Step) -> None:
        for note in step.notes:
            _log.info("routes: %s", note)
        if step.wants_refresh and self.ask_refresh is not None:
            self.ask_refresh()
        self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self.table.has_work and not self._is_working:
            self._is_working = True
            loop.call_soon(self._work)
        if not self._is_committing and self._has_news():
            self._is_committing = True
            loop.call_later(COMMIT_S, self._commit_in_time)

    def _work(self) -> None:
        end = time.monotonic() + _SLICE_S
        while self.table.work() and time.monotonic() < end:
            pass
        self._is_working = False
        self.sessions.version += 1
        self._schedule()

    # -- serials ---------------------------------------------------------------------------------

    def _has_news(self) -> bool:
        return self.log.is_dirty or self._seen_version != self.sessions.version

    def _commit_in_time(self) -> None:
        self._is_committing = False
        self.commit()

    def commit(self) -> int:
        """Make what has changed a serial; returns the current one."""
        if self._seen_version != self.sessions.version:
            self._seen_version = self.sessions.version
            self._keep("peers", peers_section(self.sessions, self.expected))
            self._keep("totals", totals_section(self.sessions))
        now = time.time()
        if self.log.commit(now):
            self._as_of = now
            if self._news is not None:
                self._news.set_result(None)
                self._news = None
        return self.log.serial

    async def wait_for_news(self, timeout_s: float) -> None:
        """Until there is a new serial, or for so long."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._news], timeout=timeout_s)

    def _ask_sections(self) -> None:
        for name, ask in self.sections.items():
            self._keep(name, ask())
        if self.log.is_dirty:
            self._schedule()

    def _keep(self, name: str, value: Any) -> None:
        if self.values.get(name) != value:
            self.values[name] = value
            self.log.mark_section(name)

    # -- what goes out ---------------------------------------------------------------------------

    def report(self) -> tuple[Heading, Iterator[bytes]]:
        """A report of now. Its pieces may be made in another thread."""
        heading = self._heading()
        return heading, render_report(heading, dict(self.values), self.table.snapshot())

    def changes(self, session: str, after: int) -> tuple[Heading, Iterator[bytes]]:
        """What is new since a serial, likewise. Raises GoneError."""
        heading = self._heading()
        changed = self.log.since(session, after)
        sections = {name: self.values[name] for name in changed.sections}
        snapshot = [
            (each.family, each.length, {each.bits: self.table.entry(*each)})
            for each in changed.prefixes
        ]
        return heading, render_changes(heading, after, sections, snapshot)

    def _heading(self) -> Heading:
        self._ask_sections()
        serial = self.commit()
        appliance = self.settings.appliance
        complete = is_complete(self.sessions, self.expected)
        return Heading(
            appliance.id,
            appliance.site,
            self.log.session,
            serial,
            self.table.digest,
            complete,
            self._as_of,
        )

    # -- RPKI ------------------------------------------------------------------------------------

    async def _read_vrps(self) -> None:
        """Read the file of validated payloads where it is another than the last time."""
        path = self.settings.bgp.rpki_vrps
        if not path:
            return
        try:
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._vrps_stamp:
                return
            self._vrps_stamp = stamp
            vrps = await asyncio.to_thread(_parse_file, path)
        except (OSError, VrpError) as error:
            self._tell_vrps_fault(f"bgp.rpki_vrps = {path!r}: {error}")
            return
        self.vrps, self.vrps_fault = vrps, ""
        self.table.set_validator(vrps)
        _log.info("routes: %d validated payloads, %d left out", vrps.count, vrps.faults)

    def _tell_vrps_fault(self, fault: str) -> None:
        if fault != self.vrps_fault:
            _log.warning("routes: %s; the last good ones stay in use", fault)
        self.vrps_fault = fault


def _parse_file(path: str) -> VrpTable:
    with open(path, "rb") as file:
        return parse_vrps(file.read())
