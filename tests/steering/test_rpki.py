"""Route origin validation, RFC 6811."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest

from bgp.prefixes import parse_prefix
from ocaserve.routing.live import RouteService
from ocaserve.routing.watching import RouteHealth, RouteMetrics
from ocaserve.settings import settings_from_directories
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.filters import Policy
from ocaserve.steering.paths import paths_of
from ocaserve.steering.report import totals_section
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.rpki import VrpError, parse_vrps
from ocaserve.steering.sessions import Sessions
from tests.support.exabgp_lines import Exabgp
from tests.support.waiting import until

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
    assert (vrps.count, vrps.left_out) == (4, {"malformed": 1})
    assert vrps.validate(*parse_prefix(text), origin) == verdict


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param({}, None, id="plain"),
        pytest.param({"maxLength": None}, None, id="null"),
        pytest.param({"maxLength": 32}, None, id="longest"),
        pytest.param({"maxLength": 7}, "max-length", id="shorter_than_prefix"),
        pytest.param({"maxLength": 33}, "max-length", id="longer_than_the_family"),
        pytest.param({"maxLength": "x"}, "malformed", id="no_number"),
        pytest.param({"asn": "AS4294967296"}, "malformed", id="as_number"),
        pytest.param({"asn": -1}, "malformed", id="negative"),
        pytest.param({"expires": 999}, "expired", id="expired"),
        pytest.param({"expires": 1000}, "expired", id="expires_now"),
        pytest.param({"expires": 1001}, None, id="expires_later"),
        pytest.param({"expires": None}, None, id="never"),
        pytest.param({"expires": "soon"}, "malformed", id="no_time"),
    ],
)
def test_entry_is_taken_or_left_out(entry: dict[str, object], reason: str | None) -> None:
    """RFC 6482 section 3.3 of lengths; what has expired decides nothing."""
    good = {"prefix": "99.0.0.0/8", "asn": 1}
    text = json.dumps({"roas": [good, {"prefix": "11.0.0.0/8", "asn": 65001, **entry}]})
    vrps = parse_vrps(text.encode(), 1000.0)
    assert vrps.left_out == ({reason: 1} if reason else {})
    verdict = vrps.validate(*parse_prefix("11.0.0.0/8"), 65001)
    assert verdict == ("not-found" if reason else "valid")


def test_payload_decides_until_it_expires() -> None:
    roas = [{"prefix": f"1{n}.0.0.0/8", "asn": 1, "expires": 1000 + n} for n in (1, 2)]
    vrps = parse_vrps(json.dumps({"roas": roas}).encode(), 1000.0)
    assert vrps.next_expiry == 1001
    left = vrps.without_expired(1001.0)
    assert (left.count, left.next_expiry, left.left_out) == (1, 1002, {"expired": 1})
    assert left.validate(*parse_prefix("11.0.0.0/8"), 1) == "not-found"
    assert left.validate(*parse_prefix("12.0.0.0/8"), 1) == "valid"


@pytest.mark.parametrize(
    ("text", "origin", "said"),
    [
        ("11.1.0.0/16", 65001, "valid by 11.0.0.0/8 up to /16 of AS65001"),
        ("11.1.0.0/17", 65001, "the length 17 is beyond 11.0.0.0/8 up to /16 of AS65001"),
        ("11.1.0.0/16", 65009, "its origin is AS65009, and there is 11.0.0.0/8 up to /16 of AS6"),
        ("11.2.0.0/16", None, "its path ends in a set"),
        ("13.0.0.0/8", 65001, "not-found: no payload covers 13.0.0.0/8"),
    ],
)
def test_which_payload_decides(text: str, origin: int | None, said: str) -> None:
    """Another AS, or too long."""
    vrps, prefix = parse_vrps(FILE), parse_prefix(text)
    sentence = vrps.explain(prefix, origin)
    assert said in sentence
    assert sentence.startswith(f"RPKI says {vrps.validate(*prefix, origin)}")


def test_empty_path_is_of_who_hears_it() -> None:
    """RFC 6811 section 2: a route of our own AS, heard inside of it."""
    table = RoutingTable(Policy(), ChangeLog("s").mark)
    table.set_validator(parse_vrps(FILE))
    Sessions(table).apply(Exabgp(65001, 65001, 65001).announce("11.0.0.0/8", path=[]), 0.0)
    (route,) = paths_of(table.entry(*parse_prefix("11.0.0.0/8")))
    assert route.rov == "valid"


@pytest.fixture
def service(tmp_path: Path) -> RouteService:
    (tmp_path / "vrps.json").write_bytes(FILE)
    given = settings_from_directories([str(tmp_path)])
    bgp = msgspec.structs.replace(given.bgp, rpki_vrps=str(tmp_path / "vrps.json"))
    return RouteService(msgspec.structs.replace(given, bgp=bgp))


async def test_empty_list_after_a_full_one(service: RouteService, tmp_path: Path) -> None:
    """Something is wrong with who writes it: the last good one decides on, and health says so."""
    task = asyncio.create_task(service.run())
    try:
        await until(lambda: service.payloads.table is not None)
        (tmp_path / "vrps.json").write_text('{"roas": []}')
        await until(lambda: bool(service.payloads.fault))
    finally:
        task.cancel()
    assert service.payloads.table is not None
    assert service.payloads.table.count == 4
    (problem,) = RouteHealth(service).observe(0.0).problems
    assert "the list is empty, and was of 4 before" in problem.reason
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in RouteMetrics(service, None).collect()
        for sample in metric.samples
    }
    assert samples["ocaserve_rpki_vrps",] == 4
    assert samples["ocaserve_rpki_vrps_left_out", "malformed"] == 1
    assert samples["ocaserve_rpki_vrps_age_seconds",] >= 0


async def test_payload_expires_while_it_is_used(service: RouteService, tmp_path: Path) -> None:
    """Its verdict is withdrawn although the file stays as it is."""
    roa = {"prefix": "11.0.0.0/8", "asn": 65001, "expires": time.time() + 1.5}
    (tmp_path / "vrps.json").write_text(json.dumps({"roas": [roa]}))

    def rov() -> str | None:
        (route,) = paths_of(service.table.entry(*parse_prefix("11.0.0.0/8")))
        return route.rov

    task = asyncio.create_task(service.run())
    try:
        service.apply(Exabgp().announce("11.0.0.0/8"))
        await until(lambda: rov() == "valid")
        await until(lambda: rov() == "not-found")
    finally:
        task.cancel()


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
