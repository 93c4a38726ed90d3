"""What communities make of a route: not used, a backup, a weight; and how it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from bgp.prefixes import parse_query
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.communities import Marks, Meanings, read_marks
from ocaserve.steering.explain import explain_route, look_up
from ocaserve.steering.filters import Policy
from ocaserve.steering.report import Heading, render_report, totals_section
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.sessions import Sessions
from tests.support.exabgp_lines import Exabgp

MEANINGS: Meanings = {
    "65001:1": "exclude", "65001:2": "backup", "65001:3": 2, "65001:4": 0.5, "65001:5": 1,
    "65001:9:1": "exclude", "65001:9:2": "backup",
}  # fmt: skip


class Told:
    """A table of these meanings, after what a router says."""

    def __init__(self, meanings: Meanings) -> None:
        self.exabgp = Exabgp()
        self.log = ChangeLog("s")
        self.table = RoutingTable(Policy(communities=meanings), self.log.mark)
        self.sessions = Sessions(self.table)

    def announce(self, prefix: str, *communities: str, **about: Any) -> None:
        line = self.exabgp.announce(prefix, communities=communities, **about)
        self.sessions.apply(line, 0.0)

    def report(self) -> bytes:
        heading = Heading("a", "", "s", 1, self.table.digest, True, 0.0)
        return b"".join(render_report(heading, {}, self.table.snapshot()))

    def attributes(self, prefix: str) -> list[dict[str, Any]]:
        """Of its accepted routes, the best first, as a report has them."""
        found = json.loads(self.report())
        routes = found["routes"].get(prefix, [])
        return [found["attributes"][str(each["attributes"])] for each in routes]

    def explain(self, ip: str) -> list[str]:
        return explain_route(look_up(self.table, parse_query(ip)))


@pytest.mark.parametrize(
    ("carried", "marks"),
    [
        ([], Marks()),
        (["65001:7", "65001:9:9"], Marks()),
        (["65001:1"], Marks(is_excluded=True)),
        (["65001:9:1", "65001:3"], Marks(is_excluded=True, weight=2.0)),
        (["65001:9:2"], Marks(is_backup=True)),
        (["65001:3", "65001:4", "65001:2"], Marks(is_backup=True, weight=0.5)),
        (["65001:5", "65001:3"], Marks()),
    ],
)
def test_all_communities_count(carried: Sequence[str], marks: Marks) -> None:
    """Plain and large ones; of several weights the lowest."""
    attributes = {
        "communities": [each for each in carried if each.count(":") == 1],
        "large_communities": [each for each in carried if each.count(":") == 2],
    }
    assert read_marks(attributes, MEANINGS) == marks
    assert read_marks(attributes, {}) == Marks()


def test_an_excluded_route_is_kept_and_not_used() -> None:
    told = Told(MEANINGS)
    told.announce("11.0.0.0/8")
    told.announce("11.1.0.0/16", "65001:7", "65001:1")
    told.announce("12.0.0.0/8", "65001:9:1")
    assert told.attributes("11.1.0.0/16") == told.attributes("12.0.0.0/8") == []
    assert totals_section(told.sessions)["filtered"] == {"community": 2}
    said = told.explain("11.1.1.1")
    assert said[0].startswith("11.0.0.0/8 is the longest accepted prefix")
    assert any("11.1.0.0/16 from 192.0.2.1 is not used: community" in each for each in said)
    told.announce("11.1.0.0/16", "65001:7")  # the mark is gone
    assert len(told.attributes("11.1.0.0/16")) == 1


def test_a_backup_stands_behind_the_others() -> None:
    """However short its path; the report has it last, and says what it is."""
    told = Told(MEANINGS)
    told.announce("11.0.0.0/8", "65001:2", peer="192.0.2.1", path=[65001])
    told.announce("11.0.0.0/8", peer="192.0.2.2", path=[65001, 7, 7])
    best, rival = told.attributes("11.0.0.0/8")
    assert ("backup" in best, rival["backup"]) == (False, True)
    assert told.explain("11.0.0.1")[1] == "rival 192.0.2.1: its communities make it a backup"
    told.sessions.apply(told.exabgp.withdraw("11.0.0.0/8", peer="192.0.2.2"), 0.0)
    assert "its communities make it a backup" in told.explain("11.0.0.1")[1]


def test_a_weight_is_told() -> None:
    told = Told(MEANINGS)
    told.announce("11.0.0.0/8", "65001:3")
    ((attributes),) = told.attributes("11.0.0.0/8")
    assert attributes["weight"] == 2.0
    assert "its communities give it the weight 2" in told.explain("11.0.0.1")


def test_without_marks_nothing_is_told() -> None:
    """Byte for byte what an appliance says that has no such setting."""
    without, beside = Told({}), Told({"65001:99": "backup", "65001:98": 3.0, "65001:97": "exclude"})
    for told in (without, beside):
        told.announce("11.0.0.0/8", "65001:1", "65001:9:2")
        told.announce("12.0.0.0/8", "65001:3", path=[65001, 7], med=3)
    assert without.report() == beside.report()
    assert b"backup" not in without.report()
    assert b"weight" not in without.report()
