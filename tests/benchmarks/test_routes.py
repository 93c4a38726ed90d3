"""The benchmark of routes: what it plays, and a round of it."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import ROOT
from benchmarks.routes import page, speaker
from benchmarks.routes.table import CHANGED, Lines, count, make_groups, read_groups, render
from bgp.events import Update
from bgp.messages import decode
from ocaserve.steering.mrt import MrtReader


def as_recording(*messages: bytes) -> bytes:
    """The messages as an MRT file has them (BGP4MP_MESSAGE_AS4, RFC 6396)."""
    head = struct.pack("!IIHH4s4s", 65_001, 65_000, 0, 1, b"\xc0\0\2\1", b"\xc0\0\2\2")
    return b"".join(
        struct.pack("!IHHI", 0, 16, 4, len(head + message)) + head + message for message in messages
    )


def test_message_and_line_say_the_same() -> None:
    """What the router sends is what the lines of the other part say."""
    groups = make_groups(300)
    recording = as_recording(*(group.as_message() for group in groups))
    sent = [read[1] for read in MrtReader().read(recording) if isinstance(read[1], Update)]
    lines = [decode(Lines().line("update", group.as_body()))[1] for group in groups]
    assert [(each.announced, each.attributes) for each in sent] == [
        (each.announced, each.attributes) for each in lines if isinstance(each, Update)
    ]


def test_made_routes_are_all_different() -> None:
    groups = make_groups(5_000)
    assert count(groups) == 5_000
    assert {group.family for group in groups} == {4, 6}


def test_changes_are_of_as_many_routes_as_said() -> None:
    played = render(make_groups(2_000))
    (read,) = {len(set(_announced(changes))) for changes in played.changes}
    assert read == CHANGED
    assert not set(_announced(played.withdrawal))


def _announced(messages: bytes) -> list[tuple[int, int, int]]:
    parts = []
    while messages:
        length = int.from_bytes(messages[16:18], "big")
        parts.append(messages[:length])
        messages = messages[length:]
    return [
        (announcement.family, *nlri[:2])
        for read in MrtReader().read(as_recording(*parts))
        if isinstance(read[1], Update)
        for announcement in read[1].announced
        for nlri in announcement.nlri
    ]


def test_recorded_table(tmp_path: Path) -> None:
    """What was withdrawn is not in it, and what has the same attributes is sent together."""
    given = speaker.attributes([64_500], 5, [(1, 2)])
    file = tmp_path / "recorded"
    file.write_bytes(
        as_recording(
            speaker.announce(4, [(8, 11), (8, 12)], given, "192.0.2.1"),
            speaker.announce(6, [(32, 0x2A000001)], given, "2a00::1"),
            speaker.withdraw(4, [(8, 12)]),
        )
    )
    four, six = read_groups(str(file))
    assert (four.prefixes, six.prefixes) == ([(8, 11)], [(32, 0x2A000001)])
    assert (four.path, four.med, four.communities) == ([65_001, 64_500], 5, [(1, 2)])


@pytest.mark.scenario
@pytest.mark.timeout(120)
def test_a_round_writes_the_page(tmp_path: Path) -> None:
    words = ["--routes", "3000", "--rounds", "1", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.routes", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "ROUTES.md").read_text()
    for figure in page.FIGURES.values():
        assert f"| {figure.title} | " in text
    assert "3,000 routes" in text
    assert "not measured" not in text
