"""The table of address families: what nobody may give twice, and what every side makes of it."""

from __future__ import annotations

import msgspec
import pytest

from bgp.address_families import BY_AFI_SAFI, BY_EXABGP, BY_NAME, BY_NUMBER, FAMILIES
from bgp.prefixes import NAMES, WIDTH
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.filters import Policy
from ocaserve.steering.paths import Allowance, PeerLimits, RouteSource
from ocaserve.steering.report import peers_section
from ocaserve.steering.report_shapes import ReportPeer
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.sessions import MOST_PEERS, Sessions
from tests.support.exabgp_lines import Exabgp


@pytest.mark.parametrize("by", [BY_NUMBER, BY_NAME, BY_EXABGP, BY_AFI_SAFI, NAMES, WIDTH])
def test_nothing_is_given_twice(by: dict[object, object]) -> None:
    assert len(by) == len(FAMILIES)


def test_a_number_fits_where_it_is_kept() -> None:
    """A change keeps it in a byte, and so does a source."""
    assert all(0 < row.number < 256 for row in FAMILIES)
    log = ChangeLog("s")
    told = [(row.number, 8, 11) for row in FAMILIES]
    for each in told:
        log.mark(*each)
    log.commit()
    assert sorted(log.since("s", 0).prefixes) == sorted(told)


def test_every_source_has_a_number_of_its_own() -> None:
    """Paths are held by it: two of one number would take each other's routes."""
    limits = PeerLimits(1, 1, Allowance(1))
    numbers = {
        RouteSource(peer, "192.0.2.1", 0, row.number, limits).number
        for peer in range(1, MOST_PEERS + 1)
        for row in FAMILIES
    }
    assert len(numbers) == MOST_PEERS * len(FAMILIES)


def test_every_side_knows_every_family() -> None:
    table = RoutingTable(Policy(), None)
    sessions = Sessions(table)
    sessions.apply(Exabgp().state("up"), 0.0)
    (peer,) = sessions.peers.values()
    assert {family.name for family in peer.families.values()} == set(BY_NAME)
    for value in peers_section(sessions, ()):
        assert set(msgspec.convert(value, ReportPeer).families) == set(BY_NAME)
    assert set(table.search) == set(BY_NUMBER)
