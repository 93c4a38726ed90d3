"""Route origin validation, RFC 6811."""

from __future__ import annotations

import json

import pytest

from bgp.prefixes import parse_prefix
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.filters import Policy
from ocaserve.steering.report import totals_section
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.rpki import VrpError, parse_vrps
from ocaserve.steering.sessions import Sessions
from tests.support.exabgp_lines import Exabgp

FILE = json.dumps(
    {
        "metadata": {},
        "roas": [
            {"prefix": "11.0.0.0/8", "maxLength": 16, "asn": "AS65001", "ta": "ripe"},
            {"prefix": "11.2.0.0/16", "maxLength": 24, "asn": 65002},
            {"prefix": "12.0.0.0/8", "maxLength": 24, "asn": 0},
            {"prefix": "2a00::/32", "maxLength": 48, "asn": "as65001"},
            {"prefix": "nonsense", "maxLength": 48, "asn": 1},
        ],
    }
).encode()


@pytest.mark.parametrize(
    ("text", "origin", "verdict"),
    [
        ("11.0.0.0/8", 65001, "valid"),
        ("11.1.0.0/16", 65001, "valid"),
        ("11.1.0.0/17", 65001, "invalid"),
        ("11.1.0.0/16", 65009, "invalid"),
        ("11.1.0.0/16", None, "invalid"),
        ("11.2.1.0/24", 65002, "valid"),
        ("12.0.0.0/8", 0, "invalid"),
        ("13.0.0.0/8", 65001, "not-found"),
        ("8.0.0.0/5", 65001, "not-found"),
        ("2a00::/48", 65001, "valid"),
        ("2a00::/49", 65001, "invalid"),
    ],
)
def test_verdict(text: str, origin: int | None, verdict: str) -> None:
    vrps = parse_vrps(FILE)
    assert (vrps.count, vrps.faults) == (4, 1)
    assert vrps.validate(*parse_prefix(text), origin) == verdict


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"roas": 7}', b'{"roas": [{"prefix": "x"}]}', b'{"roas": ["x"]}']
)
def test_file_that_is_none(text: bytes) -> None:
    with pytest.raises(VrpError):
        parse_vrps(text)


@pytest.mark.parametrize(("excludes", "accepted"), [(False, 2), (True, 1)])
def test_table_is_judged_again_when_the_file_changes(excludes: bool, accepted: int) -> None:
    """An annotation, and a filter only where it is asked for."""
    log = ChangeLog("s")
    table = RoutingTable(Policy(excludes_rpki_invalid=excludes), log.mark)
    sessions = Sessions(table)
    exabgp = Exabgp()
    sessions.apply(exabgp.announce("11.0.0.0/8", "11.0.0.0/20", path=[65001]), 0.0)
    log.commit()
    table.set_validator(parse_vrps(FILE))
    table.settle()
    assert totals_section(sessions)["accepted"] == accepted
    assert len(log.since("s", 0).prefixes) == 2
    table.set_validator(None)
    table.settle()
    assert totals_section(sessions)["accepted"] == 2
