"""Recordings that went wrong somewhere, and the right value; and bgpdump's word on good ones."""

from __future__ import annotations

import lzma
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from bgp.prefixes import format_prefix, parse_prefix
from ocaserve.cli import main
from ocaserve.health import Level
from ocaserve.routing.live import RouteService
from ocaserve.routing.replay import Played, replay_files
from ocaserve.routing.watching import RouteHealth
from ocaserve.settings import settings_from_directories
from ocaserve.steering.noting import MOST_LINES
from ocaserve.steering.paths import Path as Route
from ocaserve.steering.paths import paths_of
from tests.steering.test_mrt import SIMPLE, dump, message, nlri, record, update
from tests.support.exabgp_lines import PEER, Exabgp

GOLDEN = Path(__file__).parent.parent / "golden" / "recordings"


def play(name: str) -> Played:
    return replay_files([str(GOLDEN / name)])


def route(played: Played, prefix: str) -> dict[str, Any] | None:
    """The best one of exactly this prefix, as a lookup has it."""
    parsed = parse_prefix(prefix)
    found = played.look_up(prefix)["covering"]
    return next((dict(m["routes"][0]) for m in found if m["prefix"] == str(parsed)), None)


@pytest.mark.parametrize(
    ("name", "prefix", "expected"),
    [
        pytest.param("rib6_nh32_abbrev.mrt", "2a00:1::/32", {"next_hop": "2a00::1"}, id="nh32"),
        pytest.param("bird2_rib6.mrt", "2a00:1::/32", {"next_hop": "2a00::1"}, id="bird_1"),
        pytest.param("bird2_rib6.mrt", "2a00:3::/32", {"next_hop": "2a00::1"}, id="bird_3"),
        pytest.param(
            "as4path_in_as4.mrt", "11.0.0.0/16", {"as_path": [65001, 64500]}, id="as4_in_as4"
        ),
        pytest.param(
            "as4_aggregator.mrt",
            "11.0.0.0/16",
            {"aggregator": "4200000001:192.0.2.8", "as_path": [65001, 4200000002]},
            id="as4_aggregator",
        ),
        pytest.param("as4_longer.mrt", "11.0.0.0/16", {"as_path": [65001]}, id="as4_longer"),
        pytest.param("path300.mrt", "11.0.0.0/16", {"as_path_length": 300}, id="path_of_300"),
        pytest.param("attr99.mrt", "11.0.0.0/16", {"as_path": [65001, 64500]}, id="attribute_99"),
        pytest.param("duplicate_attr.mrt", "11.0.0.0/16", {"med": 10}, id="first_of_two"),
        pytest.param("agg_len0.mrt", "11.0.0.0/16", {"aggregator": None}, id="aggregator_0"),
        pytest.param("agg_len5.mrt", "11.0.0.0/16", {"aggregator": None}, id="aggregator_5"),
        pytest.param("table_dump_v1.mrt", "11.1.0.0/16", {"next_hop": PEER}, id="table_dump"),
        pytest.param("nlri_len33.mrt", "11.0.0.0/16", {"next_hop": PEER}, id="nlri_of_33"),
        pytest.param("rib_then_updates.mrt", "12.0.0.0/16", {"next_hop": PEER}, id="table_stays"),
        pytest.param("state_down.mrt", "12.0.0.0/16", {"next_hop": PEER}, id="other_session"),
        pytest.param("local_announce.mrt", "11.0.0.0/16", {"next_hop": PEER}, id="not_local"),
    ],
)
def test_attributes(name: str, prefix: str, expected: dict[str, Any]) -> None:
    found = route(play(name), prefix)
    assert found is not None
    assert found["reason"] == ("path-too-long" if name == "path300.mrt" else None)
    attributes = found["attributes"]
    assert {key: attributes.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        pytest.param("communities_len3.mrt", "11.0.0.0/16", id="communities_of_3"),
        pytest.param("med_len3.mrt", "11.0.0.0/16", id="med_of_3"),
        pytest.param("med_len5.mrt", "11.0.0.0/16", id="med_of_5"),
        pytest.param("state_down.mrt", "11.0.0.0/16", id="session_ended_two_hours_ago"),
        pytest.param("local_announce.mrt", "11.9.0.0/16", id="sent_by_the_collector"),
        pytest.param("rib_then_updates.mrt", "11.0.0.0/16", id="withdrawn_after_the_table"),
    ],
)
def test_route_that_is_gone(name: str, prefix: str) -> None:
    """RFC 7606 sections 2 and 7, RFC 6396 section 4.4."""
    assert route(play(name), prefix) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("no_as_path.mrt", "malformed", id="missing"),
        pytest.param("empty_path.mrt", "empty-path", id="empty"),
    ],
)
def test_path_without_an_as(name: str, reason: str) -> None:
    """It beats no rival: RFC 7606 section 3(d), RFC 4271 section 5.1.2."""
    found = play(name).look_up("11.0.0.0/16")["covering"][0]["routes"]
    assert found[-1]["reason"] == reason
    assert [each["reason"] for each in found[:-1]] == [None] * (len(found) - 1)


def test_table_and_updates_are_of_one_peer() -> None:
    """The table knows the collector by its identifier, the updates by its address."""
    peers = play("rib_then_updates.mrt").peers()["peers"]
    assert [(peer["address"], peer["as"]) for peer in peers] == [(PEER, 65001)]


def test_table_that_is_cut_is_not_complete() -> None:
    played = play("rib_truncated.mrt")
    assert played.fault_count == 1
    (peer,) = played.peers()["peers"]
    assert not peer["families"]["ipv4"]["complete"]
    assert peer["families"]["ipv4"]["accepted"] == 36


def test_bad_entry_among_good_ones() -> None:
    played = play("rib_one_bad_of_three.mrt")
    found = played.look_up("11.0.0.0/16")["match"]["routes"]
    assert [each["peer"] for each in found] == ["192.0.2.1", "192.0.2.3"]
    (fault,) = played.faults
    assert "the route of peer 1: attribute 2: a segment of the unknown kind" in fault


@pytest.mark.parametrize(
    ("name", "said", "status"),
    [
        pytest.param("no_index.mrt", "no table of peers came before it", 1, id="no_index"),
        pytest.param("gz_damaged.mrt.gz", "damaged at byte 0", 1, id="damaged"),
        pytest.param("gz_cut.mrt.gz", "cut off at byte 163, as gzip", 0, id="cut"),
        pytest.param("zst.mrt.zst", "compressed with zstd, which is not read", 1, id="zstd"),
        pytest.param("exabgp4.jsonl", "JSON version '4.0.1': must be 5.x", 1, id="exabgp_4"),
    ],
)
def test_command_says_what_is_wrong(name: str, said: str, status: int) -> None:
    """In a line, without a traceback."""
    done = CliRunner().invoke(main, ["routes", "replay", str(GOLDEN / name)])
    assert done.exit_code == status, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_what_can_be_read_of_a_file_that_is_cut() -> None:
    assert route(play("gz_cut.mrt.gz"), "11.25.0.0/16") is not None


def test_xz() -> None:
    assert play("xz.mrt.xz").understood


def test_two_members_and_padding(tmp_path: Path) -> None:
    """As files are that were joined, and those of tapes."""
    file = tmp_path / "x.xz"
    file.write_bytes(lzma.compress(message(SIMPLE)) + lzma.compress(message(SIMPLE)) + bytes(8))
    played = replay_files([str(file)])
    assert (played.records, played.fault_count) == (2, 0)


def test_next_hops_of_a_line() -> None:
    found = route(play("two_nexthops.jsonl"), "2a00:1::/32")
    assert found is not None
    assert found["attributes"]["next_hop"] == "2a00::1"


def test_several_files_and_csv(tmp_path: Path) -> None:
    """A table, then updates from the same peer in a file of their own."""
    table, updates = tmp_path / "table", tmp_path / "updates"
    table.write_bytes(dump())
    updates.write_bytes(message(update(nlri("11.0.0.0/8"))))
    done = CliRunner().invoke(main, ["routes", "replay", str(table), str(updates), "--csv"])
    assert done.exit_code == 0, done.output
    rows = [line.split(",")[:2] for line in done.stdout.splitlines()]
    assert rows[0] == ["prefix", "peer"]
    assert rows[1:] == [["11.0.0.0/8", "192.0.2.2"], ["2a00::/32", PEER]]


def test_peer_that_changes_its_as_number_is_another() -> None:
    """As bgpdump has it: by address and AS number."""
    other = message(SIMPLE).replace((65001).to_bytes(4, "big"), (65009).to_bytes(4, "big"))
    played = played_of(message(SIMPLE) + other)
    assert len(played.peers()["peers"]) == 2
    assert played.peers()["totals"]["accepted"] == 4


def played_of(data: bytes) -> Played:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return replay_files([file.name])


# -- in place of routers -------------------------------------------------------------------------


async def told_by(folder: Path, data: bytes) -> RouteService:
    file = folder / "recording"
    file.write_bytes(data)
    service = RouteService(settings_from_directories([str(folder)]))
    await service.play(str(file))
    service.table.settle()
    return service


async def test_recording_of_nothing_that_is_understood(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """115,524 lines of one in the log were 19 MB in 15 s."""
    service = await told_by(tmp_path, b"{nonsense\n" * 5_000)
    assert len(caplog.records) < MOST_LINES + 10
    (problem,) = RouteHealth(service).observe(0.0).problems
    assert problem.level is Level.ERROR
    assert "5000 of 5000 records or lines are malformed" in problem.reason


@pytest.mark.parametrize("name", ["gz_damaged.mrt.gz", "zst.mrt.zst"])
async def test_recording_that_cannot_be_read(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = await told_by(tmp_path, (GOLDEN / name).read_bytes())
    (problem,) = RouteHealth(service).observe(0.0).problems
    assert problem.level is Level.ERROR
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


async def test_recording_with_a_fault_counts_for_what_it_is(tmp_path: Path) -> None:
    """What was understood is told, and is not said to be whole however long it is quiet."""
    service = await told_by(tmp_path, (GOLDEN / "rib_truncated.mrt").read_bytes())
    (problem,) = RouteHealth(service).observe(0.0).problems
    assert problem.level is Level.WARNING
    service.sessions.tick(service.now() + 3600)
    (peer,) = service.sessions.peers.values()
    assert peer.families[4].source.accepted == 36
    assert not peer.families[4].is_complete


async def test_recorded_time_goes_on(tmp_path: Path) -> None:
    """A session that ended is stale for as long as it would have been then."""
    exabgp = Exabgp()
    lines = [exabgp.state("up"), exabgp.announce("11.0.0.0/8"), exabgp.state("down", "lost")]
    service = await told_by(tmp_path, b"\n".join(lines))
    assert service.table.entry(4, 8, 11) is not None
    service.sessions.tick(service.now() + 60)
    service.table.settle()
    assert service.table.entry(4, 8, 11) is not None
    service.sessions.tick(service.now() + 180)
    service.table.settle()
    assert service.table.entry(4, 8, 11) is None


# -- beside bgpdump ------------------------------------------------------------------------------

Key = tuple[str, int, str, int]
Value = tuple[str, str, str, int, str]
SAME = (
    "bird2_rib6.mrt", "rib6_nh32_abbrev.mrt", "as4path_in_as4.mrt", "as4_aggregator.mrt",
    "as4_longer.mrt", "attr99.mrt", "table_dump_v1.mrt", "rib_then_updates.mrt",
    "rib_truncated.mrt", "gz_cut.mrt.gz", "local_announce.mrt", "xz",
)  # fmt: skip
"""What is not malformed, or cut; docs/recordings.md says of the others why they differ."""


def table_of_bgpdump(file: Path) -> dict[Key, Value]:
    """What its lines come to. A line of its own says that it logs."""
    told = subprocess.run(["bgpdump", "-m", str(file)], capture_output=True, text=True, check=True)
    table: dict[Key, Value] = {}
    for line in told.stdout.splitlines():
        kind, _, verb, peer, asn, *rest = line.split("|")
        if kind.endswith("_LOCAL") or verb == "STATE":
            continue
        prefix = rest.pop(0)
        key = peer, int(asn), prefix, int(rest.pop(0)) if kind.endswith("_AP") else 0
        if verb == "W":
            table.pop(key, None)
        else:
            path, origin, hop, _, med, communities, _, aggregator = rest[:8]
            assert communities is not None
            table[key] = path, origin, hop, int(med), aggregator.replace(" ", ":")
    return table


def table_of_ours(played: Played) -> dict[Key, Value]:
    numbers = {peer.number: peer.peer_as for peer in played.sessions.peers.values()}
    return {
        (each.source.address, numbers[each.source.peer_number], prefix, each.path_id): values(each)
        for family, length, level in played.sessions.table.snapshot()
        for bits, entry in level.items()
        for prefix in [format_prefix(family, length, bits)]
        for each in paths_of(entry)
    }


def values(route: Route) -> Value:
    told = msgspec.json.decode(route.attributes.text)
    path = " ".join(
        f"{{{','.join(map(str, each))}}}" if isinstance(each, list) else str(each)
        for each in told["as_path"]
    )
    return (
        path, told["origin"].upper(), told["next_hop"], told.get("med", 0),
        told.get("aggregator", ""),
    )  # fmt: skip


def made(folder: Path) -> Iterator[Path]:
    """Of each kind of record that there is: two and four bytes, add-path, IPv6, both tables."""
    for number, data in enumerate((message(SIMPLE), message(SIMPLE, kind=17), dump())):
        file = folder / f"made{number}"
        file.write_bytes(data)
        yield file


@pytest.mark.scenario
def test_final_tables_are_those_of_bgpdump(tmp_path: Path) -> None:
    plain = tmp_path / "xz"
    plain.write_bytes(lzma.decompress((GOLDEN / "xz.mrt.xz").read_bytes()))
    files = [plain if name == "xz" else GOLDEN / name for name in SAME]
    for file in [*files, *made(tmp_path)]:
        theirs = table_of_bgpdump(file)
        assert theirs, file
        assert table_of_ours(replay_files([str(file)])) == theirs, file


def test_what_a_record_of_no_known_kind_says() -> None:
    (fault,) = played_of(message(SIMPLE) + record(48, 3, b"")).faults
    assert "type 48, subtype 3: the type must be 5, 12, 13, 16 or 17" in fault
