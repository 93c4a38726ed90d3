"""Recorded routes, from records made here byte by byte."""

from __future__ import annotations

import bz2
import gzip
import ipaddress
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgp.events import EndOfRib, StateChange, Update
from bgp.prefixes import parse_prefix
from ocaserve.cli import main
from ocaserve.routing.live import RouteService
from ocaserve.routing.replay import replay_files
from ocaserve.settings import settings_from_directories
from ocaserve.steering.explain import look_up
from ocaserve.steering.mrt import MrtReader, Read, RecordFault
from tests.support.exabgp_lines import Exabgp

PEER, LOCAL = "192.0.2.1", "192.0.2.10"


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def nlri(prefix: str) -> bytes:
    network = ipaddress.ip_network(prefix)
    return (
        bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]
    )


def attribute(code: int, value: bytes) -> bytes:
    return bytes([0x50, code]) + struct.pack("!H", len(value)) + value


def path(*numbers: int, size: int = 4, kind: int = 2) -> bytes:
    return bytes([kind, len(numbers)]) + b"".join(each.to_bytes(size, "big") for each in numbers)


ORIGIN = attribute(1, b"\0")
NEXT_HOP = attribute(3, packed(PEER))


def update(withdrawn: bytes = b"", attributes: bytes = b"", announced: bytes = b"") -> bytes:
    body = struct.pack("!H", len(withdrawn)) + withdrawn
    body += struct.pack("!H", len(attributes)) + attributes + announced
    return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), 2) + body


def record(kind: int, subtype: int, body: bytes) -> bytes:
    return struct.pack("!IHHI", 1_000_000, kind, subtype, len(body)) + body


def session(size: int = 4) -> bytes:
    return (
        (65001).to_bytes(size, "big") + (65000).to_bytes(size, "big")
        + struct.pack("!HH", 0, 1) + packed(PEER) + packed(LOCAL)
    )  # fmt: skip


def message(bgp: bytes, *, kind: int = 16, subtype: int = 4, size: int = 4) -> bytes:
    stamp = struct.pack("!I", 7) if kind == 17 else b""
    return record(kind, subtype, stamp + session(size) + bgp)


SIMPLE = update(attributes=ORIGIN + attribute(2, path(65001, 64500)) + NEXT_HOP,
                announced=nlri("11.0.0.0/8") + nlri("12.128.0.0/9"))  # fmt: skip


def read(data: bytes) -> list[Read]:
    return list(MrtReader().read(data))


def updates(data: bytes) -> list[Update]:
    return [
        each[1]
        for each in read(data)
        if not isinstance(each, RecordFault) and isinstance(each[1], Update)
    ]


@pytest.mark.parametrize("kind", [16, 17])
def test_update(kind: int) -> None:
    up, told = read(message(SIMPLE, kind=kind))
    assert not isinstance(up, RecordFault)
    assert not isinstance(told, RecordFault)
    assert up[1] == StateChange("up")
    assert told[0].session == (PEER, LOCAL)
    event = told[1]
    assert isinstance(event, Update)
    assert event.announced[0].nlri == [(8, 11, 0), (9, 25, 0)]
    assert event.attributes.values == {"origin": "igp", "as_path": [65001, 64500]}


def test_two_byte_numbers_with_as4_path() -> None:
    """RFC 6793: AS_TRANS stands where a number did not fit."""
    attributes = (
        ORIGIN + attribute(2, path(65001, 23456, 23456, size=2))
        + attribute(17, path(4_200_000_001, 4_200_000_002)) + NEXT_HOP
    )  # fmt: skip
    bgp = update(attributes=attributes, announced=nlri("11.0.0.0/8"))
    (event,) = updates(message(bgp, subtype=1, size=2))
    assert event.attributes.values["as_path"] == [65001, 4_200_000_001, 4_200_000_002]


def test_ipv6_with_both_next_hops() -> None:
    reach = struct.pack("!HBB", 2, 1, 32) + packed("2a00::1") + packed("fe80::1") + b"\0"
    unreach = struct.pack("!HB", 2, 1) + nlri("2a00:2::/32")
    attributes = ORIGIN + attribute(2, path(65001)) + attribute(14, reach + nlri("2a00:1::/32"))
    (event,) = updates(message(update(attributes=attributes + attribute(15, unreach))))
    assert event.announced[0].next_hop == "2a00::1"
    assert event.announced[0].nlri == [(32, 0x2A000001, 0)]
    assert event.withdrawn == [(6, [(32, 0x2A000002, 0)])]


@pytest.mark.parametrize(("local_as", "is_withdrawn"), [(65000, False), (65001, True)])
def test_malformed_local_preference(local_as: int, is_withdrawn: bool) -> None:
    """RFC 7606 section 7.5: from another AS it counts for nothing anyway."""
    attributes = ORIGIN + attribute(2, path(65001)) + NEXT_HOP + attribute(5, b"abc")
    bgp = message(update(attributes=attributes, announced=nlri("11.0.0.0/8")))
    bgp = bgp.replace((65000).to_bytes(4, "big"), local_as.to_bytes(4, "big"))
    (event,) = updates(bgp)
    assert event.is_treated_as_withdraw is is_withdrawn
    assert event.discarded == (0 if is_withdrawn else 1)


def test_add_path() -> None:
    bgp = update(
        withdrawn=struct.pack("!I", 7) + nlri("11.0.0.0/8"),
        attributes=ORIGIN + attribute(2, path(65001)) + NEXT_HOP,
        announced=struct.pack("!I", 9) + nlri("12.0.0.0/8"),
    )
    (event,) = updates(message(bgp, subtype=9))
    assert event.withdrawn == [(4, [(8, 11, 7)])]
    assert event.announced[0].nlri == [(8, 12, 9)]


@pytest.mark.parametrize(
    ("bgp", "family"),
    [
        pytest.param(update(), 4, id="ipv4"),
        pytest.param(update(attributes=attribute(15, struct.pack("!HB", 2, 1))), 6, id="ipv6"),
    ],
)
def test_end_of_rib(bgp: bytes, family: int) -> None:
    last = read(message(bgp))[-1]
    assert not isinstance(last, RecordFault)
    assert last[1] == EndOfRib(family)


def dump() -> bytes:
    """A table of two peers."""
    peers = b"".join(
        bytes([2]) + packed("10.0.0.1") + packed(address) + struct.pack("!I", asn)
        for address, asn in ((PEER, 65001), ("192.0.2.2", 65002))
    )
    index = packed("10.9.9.9") + struct.pack("!H", 0) + struct.pack("!H", 2) + peers
    entries = b""
    for place in (0, 1):
        attributes = ORIGIN + attribute(2, path(65001 + place)) + NEXT_HOP
        entries += struct.pack("!HIH", place, 5, len(attributes)) + attributes
    six = ORIGIN + attribute(2, path(65001)) + attribute(14, b"\x10" + packed("2a00::1"))
    return (
        record(13, 1, index)
        + record(13, 2, struct.pack("!I", 0) + nlri("11.0.0.0/8") + struct.pack("!H", 2) + entries)
        + record(13, 4, struct.pack("!I", 1) + nlri("2a00::/32") + struct.pack("!H", 1)
                 + struct.pack("!HIH", 0, 5, len(six)) + six)
    )  # fmt: skip


@pytest.mark.parametrize(
    "compress",
    [
        pytest.param(bytes, id="plain"),
        pytest.param(gzip.compress, id="gz"),
        pytest.param(bz2.compress, id="bz2"),
    ],
)
def test_table_dump(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """It is whole when it ends, in the same table as live routes."""
    file = tmp_path / "rib"
    file.write_bytes(compress(dump()))
    played = replay_files([str(file)])
    assert played.fault_count == 0
    assert played.peers()["totals"]["accepted"] == 3
    assert all(
        family["complete"]
        for peer in played.peers()["peers"]
        for family in peer["families"].values()
    )
    found = played.look_up("11.1.1.1")["match"]
    assert [route["peer"] for route in found["routes"]] == [PEER, "192.0.2.2"]
    assert played.look_up("2a00::1")["match"]["routes"][0]["attributes"]["next_hop"] == "2a00::1"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        pytest.param(record(48, 0, b"x"), "type 48", id="type"),
        pytest.param(message(SIMPLE.replace(b"\xff", b"\0", 1)), "marker", id="marker"),
        pytest.param(message(SIMPLE[:-1]), "bytes", id="cut_message"),
        pytest.param(message(update(announced=b"\x21" + bytes(5))), "length of 33", id="33"),
        pytest.param(message(update(attributes=attribute(2, b"\x09\0"))), "kind", id="segment"),
        pytest.param(message(update(attributes=b"\x40\x01\x09\x00")), "9 bytes", id="attribute"),
        pytest.param(
            record(13, 2, bytes(4) + nlri("11.0.0.0/8") + b"\0\1\0\7" + bytes(6)),
            "no table of peers came before it",
            id="peer",
        ),
    ],
)
def test_malformed_record_is_named_and_passed_over(bad: bytes, why: str) -> None:
    found = read(message(SIMPLE) + bad + message(SIMPLE))
    (fault,) = [each for each in found if isinstance(each, RecordFault)]
    assert fault.offset == len(message(SIMPLE))
    assert why in fault.why
    told = updates(message(SIMPLE) + bad + message(SIMPLE))
    assert len([each for each in told if each.announced]) == 2


@pytest.mark.parametrize("cut", [5, 30])
def test_file_that_ends_too_soon(cut: int) -> None:
    found = read(message(SIMPLE) + message(SIMPLE)[:cut])
    assert isinstance(found[-1], RecordFault)
    assert found[-1].offset == len(message(SIMPLE))


def test_command(tmp_path: Path) -> None:
    file = tmp_path / "updates"
    file.write_bytes(message(SIMPLE) + record(48, 0, b"") + message(update(nlri("11.0.0.0/8"))))
    done = CliRunner().invoke(main, ["routes", "replay", str(file)])
    assert done.exit_code == 0, done.output
    assert "12.128.0.0/9" in done.output
    assert "11.0.0.0/8" not in done.output
    assert "3 records, 1 malformed" in done.output
    done = CliRunner().invoke(main, ["routes", "replay", str(file), "--lookup", "12.200.0.1"])
    assert "12.200.0.1/32 is matched by" in done.output


def test_command_on_lines_of_exabgp(tmp_path: Path) -> None:
    """They are as good; what is malformed among them costs itself alone."""
    exabgp = Exabgp()
    lines = [exabgp.state("up"), exabgp.announce("11.0.0.0/8"), b"{nonsense", exabgp.end_of_rib()]
    file = tmp_path / "lines.gz"
    file.write_bytes(gzip.compress(b"\n".join(lines)))
    done = CliRunner().invoke(main, ["routes", "replay", str(file)])
    assert done.exit_code == 0, done.output
    assert "11.0.0.0/8" in done.output
    assert "4 records, 1 malformed" in done.output


@pytest.mark.parametrize("content", [b"", b"what is this?\n" * 9, b"{nonsense\n{more}\n"])
def test_command_on_what_nobody_understands(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    assert CliRunner().invoke(main, ["routes", "replay", str(file)]).exit_code == 1


@pytest.mark.parametrize("recorded", ["lines", "mrt"])
async def test_recording_in_place_of_routers(tmp_path: Path, recorded: str) -> None:
    """The appliance hears it once, as it would hear routers."""
    file, exabgp = tmp_path / "recording", Exabgp()
    lines = [exabgp.state("up"), exabgp.announce("11.0.0.0/8"), exabgp.end_of_rib()]
    file.write_bytes(dump() if recorded == "mrt" else b"\n".join(lines))
    settings = settings_from_directories([str(tmp_path)])
    service = RouteService(settings)
    await service.play(str(file))
    service.table.settle()
    service.commit()
    assert service.values["totals"]["accepted"] == (3 if recorded == "mrt" else 1)
    assert look_up(service.table, parse_prefix("11.1.1.1"))["match"]["prefix"] == "11.0.0.0/8"


def test_command_on_what_is_no_recording(tmp_path: Path) -> None:
    file = tmp_path / "x.gz"
    file.write_bytes(b"\x1f\x8bnothing")
    done = CliRunner().invoke(main, ["routes", "replay", str(file)])
    assert done.exit_code == 1
    assert "x.gz" in done.output
