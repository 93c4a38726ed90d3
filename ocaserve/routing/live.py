"""The routes in the control process: gives the core lines and time, and tells who waits for news.

Everything here is of one event loop. `apply` takes a line within microseconds; what is longer (a
sweep of a million routes) is done in slices between other work. What changed becomes a serial at
the latest `COMMIT_S` later, or at once when somebody asks.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from bgp.address_families import BY_NAME, IPV4, IPV6
from bgp.prefixes import parse_prefix
from ocaserve.routing.payloads import PayloadFile
from ocaserve.routing.recordings import (
    LineFault,
    RecordingError,
    RecordingReader,
    read_recording,
)
from ocaserve.routing.replay import RecordedTime
from ocaserve.settings import Settings
from ocaserve.settings.bgp import Bgp
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.families import Times
from ocaserve.steering.filters import PeerPolicy, Policy
from ocaserve.steering.mrt import RecordFault
from ocaserve.steering.noting import NoteLimit
from ocaserve.steering.objects import Holdings, HoldingsLog
from ocaserve.steering.report import (
    Heading,
    is_complete,
    peers_section,
    render_brief,
    render_changes,
    render_report,
    totals_section,
)
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.sessions import Sessions, Step

_log = logging.getLogger(__name__)

COMMIT_S = 0.02  # changes within this time are one serial
_TICK_S = 1.0
_SLICE_S = 0.002  # of long work, then others have their turn
_RECORDS_A_SLICE = 64


def policy_of(bgp: Bgp) -> Policy:
    """The filters that the settings ask for."""
    return Policy(
        lengths={
            IPV4: (bgp.shortest_ipv4, bgp.longest_ipv4),
            IPV6: (bgp.shortest_ipv6, bgp.longest_ipv6),
        },
        refuses_bogons=bgp.refuse_bogons,
        allowed_bogons=tuple(parse_prefix(each) for each in bgp.allow_bogons),
        longest_path=bgp.longest_path,
        excludes_rpki_invalid=bgp.rpki_invalid == "exclude",
        communities=bgp.communities,
        peers={
            each.address: PeerPolicy(
                families=frozenset(BY_NAME[name].number for name in each.families),
                max_prefixes=each.max_prefixes,
                max_paths=each.max_paths,
                max_attribute_bytes=each.max_attribute_bytes,
                hold_time_s=each.hold_time_s,
                takes_add_path=each.add_path,
            )
            for each in bgp.neighbor
        },
    )


class RouteService:
    """The table, its sessions and its changes.

    sections: what else a report tells, by name; each is asked once a second and must be quick.
    find_holdings: which objects of the manifest are here, likewise. ask_refresh: called where lines
    are missing. is_fed: whether ExaBGP's feeder is connected.
    """

    def __init__(self, settings: Settings, ask_refresh: Callable[[], None] | None = None) -> None:
        self.settings = settings
        self.log = ChangeLog(secrets.token_hex(8))
        self.table = RoutingTable(policy_of(settings.bgp), self.log.mark)
        self.sessions = Sessions(self.table, Times(stale_s=settings.bgp.stale_s))
        self.sections: dict[str, Callable[[], Any]] = {}
        self.find_holdings: Callable[[], Holdings | None] = lambda: None
        self._holdings = HoldingsLog()
        self.ask_refresh = ask_refresh
        self.is_fed: Callable[[], bool] | None = None
        self.payloads = PayloadFile(settings.bgp.rpki_vrps, self.table.set_validator)
        self.recording_fault = ""
        self.is_recording_useless = False  # nothing in it was understood
        self._behind = 0.0
        self.last_contact: float | None = None  # of the control plane, on the monotonic clock
        self.values: dict[str, Any] = {
            "peers": peers_section(self.sessions, self.expected),
            "totals": totals_section(self.sessions),
        }
        self._noting = NoteLimit()
        self._seen_version = 0
        self._as_of = time.time()
        self._news: asyncio.Future[None] | None = None
        self._is_committing = self._is_working = False

    def now(self) -> float:
        """Seconds since 1970; in a recording's time, which goes on after its end."""
        return time.time() + self._behind

    @property
    def expected(self) -> list[str]:
        """The addresses of the configured peers."""
        return [each.address for each in self.settings.bgp.neighbor]

    @property
    def session(self) -> str:
        """Within which serials mean something."""
        return self.log.session

    def check(self, session: str, after: int) -> None:
        """Raise GoneError where `changes` would."""
        self.log.check(session, after)

    @property
    def has_heard(self) -> bool:
        """Whether some router has told all of its routes of some family, and they still count."""
        peers = self.sessions.peers.values()
        return any(family.is_complete for peer in peers for family in peer.families.values())

    # -- what comes in ---------------------------------------------------------------------------

    def apply(self, line: bytes) -> None:
        """A line of ExaBGP's or of the feeder's; the sink of a feed."""
        self._follow(self.sessions.apply(line, time.time()))

    async def play(self, path: str) -> None:
        """All that a recording tells, as if routers told it now."""
        _log.warning("routes: told by the recording %s, not by routers", path)
        clock, faults, place = RecordedTime(self.sessions), 0, 0
        reader = RecordingReader(self.settings.bgp.local_as)
        try:
            content, fault = await asyncio.to_thread(read_recording, path)
        except RecordingError as error:
            content, fault = b"", str(error)
        for place, told in enumerate(reader.read(content), 1):
            if isinstance(told, RecordFault | LineFault):
                faults += 1
                self._follow(Step((f"{path}: {told}",)))
            else:
                self._follow(clock.apply(*told))
                self._behind = clock.now - time.time()
            if place % _RECORDS_A_SLICE == 0:
                await asyncio.sleep(0)
        if faults and not fault:
            fault = f"{path}: {faults} of {reader.records} records or lines are malformed"
        if fault or not place:
            self.sessions.distrust_silence()
            self.recording_fault = fault or f"{path}: nothing in it is understood"
            self.is_recording_useless = faults == place
            _log.error("routes: bgp.recording: %s", self.recording_fault)

    def lose(self) -> None:
        """ExaBGP is gone: what it told is stale until it is back, or too old."""
        self._follow(self.sessions.lose("ExaBGP is gone", time.time()))

    async def run(self) -> None:
        """What time brings, for as long as the appliance runs."""
        while True:
            await self.payloads.look()
            self._follow(self.sessions.tick(self.now()))
            self._ask_sections()
            self._schedule()
            await asyncio.sleep(_TICK_S)

    def _follow(self, step: Step) -> None:
        for note in self._noting.admit(step.notes, time.monotonic()):
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

    async def wait_until_complete(self) -> None:
        """Until all routers have told all, or what is kept of lost sessions is too old as well."""
        deadline = time.monotonic() + self.settings.bgp.stale_s
        while self.expected and not is_complete(self.sessions, self.expected):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            await self.wait_for_news(min(left, _TICK_S))

    async def wait_for_news(self, timeout_s: float) -> None:
        """Until there is a new serial, or for so long."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._news], timeout=timeout_s)

    def _ask_sections(self) -> None:
        for name, ask in self.sections.items():
            self._keep(name, ask())
        found = self.find_holdings()
        if found is not None and self._holdings.take(found, self.log.serial + 1):
            self.log.mark_section("objects")
        if self.log.is_dirty:
            self._schedule()

    def _keep(self, name: str, value: Any) -> None:
        if self.values.get(name) != value:
            self.values[name] = value
            self.log.mark_section(name)

    # -- what goes out ---------------------------------------------------------------------------

    def report(self, *, is_brief: bool = False) -> tuple[Heading, Iterator[bytes]]:
        """A report of now. Its pieces may be made in another thread. is_brief: with the table's
        digest in place of the routes.
        """
        heading = self.heading()
        sections = dict(self.values)
        if self._holdings.now is not None:
            sections["objects"] = self._holdings.whole()
        render = render_brief if is_brief else render_report
        return heading, render(heading, sections, self.table.snapshot())

    def changes(self, session: str, after: int) -> tuple[Heading, Iterator[bytes]]:
        """What is new since a serial, likewise. Raises GoneError."""
        heading = self.heading()
        changed = self.log.since(session, after)
        sections = {
            name: self._holdings.since(after) if name == "objects" else self.values[name]
            for name in changed.sections
        }
        snapshot = [
            (each.family, each.length, {each.bits: self.table.entry(*each)})
            for each in changed.prefixes
        ]
        return heading, render_changes(heading, after, sections, snapshot)

    def heading(self) -> Heading:
        """Of a report of now."""
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
            self.table.prefix_digest,
        )
