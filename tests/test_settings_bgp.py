"""What `[bgp]` may say, and what is said about one that it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocaserve.settings import load_settings
from ocaserve.settings.bgp import read_md5_key
from tests.support.checked import degraded_of, faults_of

HEAD = '[bgp]\nrouter_id = "192.0.2.10"\nlocal_as = 65000\n'
NEIGHBOR = '[[bgp.neighbor]]\naddress = "192.0.2.1"\npeer_as = 65001\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path


def write(folder: Path, toml: str) -> str:
    file = folder / "ocaserve.toml"
    file.write_text(f'{toml}\n[[store]]\npath = "store"\n')
    return str(file)


def test_without_the_table(folder: Path) -> None:
    """There is no BGP."""
    assert load_settings(write(folder, "")).bgp.neighbor == []


def test_table(folder: Path) -> None:
    """Paths are relative to the file; what is not said has a default."""
    key = folder / "peer.md5"
    key.write_text("a key\nand a note\n")
    key.chmod(0o600)
    more = 'md5_file = "peer.md5"\nport = 1790\nfamilies = ["ipv6"]\n'
    bgp = load_settings(write(folder, HEAD + 'rpki_vrps = "vrps.json"\n' + NEIGHBOR + more)).bgp
    (neighbor,) = bgp.neighbor
    assert (neighbor.port, neighbor.families, neighbor.hold_time_s) == (1790, ["ipv6"], 90)
    assert bgp.rpki_vrps == str(folder / "vrps.json")
    assert neighbor.md5_file == str(key)
    assert read_md5_key(neighbor.md5_file) == "a key"


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        pytest.param(
            "[bgp]\nlocal_as = 1\n" + NEIGHBOR,
            "bgp.router_id: missing; must be an IPv4 address",
            id="no_id",
        ),
        pytest.param(
            '[bgp]\nrouter_id = "192.0.2.10"\n' + NEIGHBOR,
            "bgp.local_as: missing; must be a whole number from 1",
            id="no_as",
        ),
        pytest.param(
            HEAD.replace("192.0.2.10", "::1"),
            "bgp.router_id = '::1': must be an IPv4 address",
            id="router_id",
        ),
        pytest.param(
            HEAD + NEIGHBOR.replace("192.0.2.1", "router.example"),
            "bgp.neighbor[0].address = 'router.example': must be an IPv4 or IPv6 address",
            id="address",
        ),
        pytest.param(
            HEAD + NEIGHBOR + 'local_address = "2001:db8::1"',
            "bgp.neighbor[0].local_address = '2001:db8::1': must be an IPv4 address",
            id="other_family",
        ),
        pytest.param(
            HEAD + NEIGHBOR + "passive = true",
            "bgp.neighbor[0].local_address: missing; the router connects to it",
            id="passive_without_address",
        ),
        pytest.param(
            HEAD + NEIGHBOR + 'families = ["ipv4", "evpn"]',
            "bgp.neighbor[0].families = ['ipv4', 'evpn']: must be",
            id="families",
        ),
        pytest.param(
            HEAD + NEIGHBOR + "hold_time_s = 2",
            "bgp.neighbor[0].hold_time_s = 2: must be a whole number from 3",
            id="hold_time",
        ),
        pytest.param(
            HEAD + NEIGHBOR + "passive = 1",
            "bgp.neighbor[0].passive = 1: must be true or false",
            id="not_a_bool",
        ),
        pytest.param(
            HEAD + NEIGHBOR.replace("peer_as = 65001", ""),
            "bgp.neighbor[0].peer_as: missing; must be",
            id="no_peer_as",
        ),
        pytest.param(
            HEAD + NEIGHBOR + 'md5_key = "x"',
            "bgp.neighbor[0].md5_key: unknown key; did you mean 'md5_file'?",
            id="unknown_key",
        ),
        pytest.param(
            HEAD + NEIGHBOR + NEIGHBOR,
            "bgp.neighbor[1].address = '192.0.2.1': is that of bgp.neighbor[0] too",
            id="twice",
        ),
        pytest.param(
            HEAD + 'allow_bogons = ["10.0.0.1/8"]',
            "bgp.allow_bogons[0] = '10.0.0.1/8': 10.0.0.1/8 has host bits set; must be",
            id="bogon",
        ),
        pytest.param(
            HEAD + 'recording = "store"\n' + NEIGHBOR,
            "bgp.recording = '{folder}/store': must not stand beside bgp.neighbor",
            id="recording_and_router",
        ),
        pytest.param(
            HEAD + 'recording = "gone.jsonl"',
            "bgp.recording = '{folder}/gone.jsonl': must be a file that can be read",
            id="recording",
        ),
        pytest.param(
            HEAD + "shortest_ipv4 = 32",
            "bgp.shortest_ipv4 = 32: must be at most bgp.longest_ipv4",
            id="lengths",
        ),
        pytest.param(
            HEAD + 'rpki_invalid = "drop"',
            'bgp.rpki_invalid = \'drop\': must be "annotate" or "exclude"',
            id="rpki",
        ),
        pytest.param(
            HEAD + '[bgp.communities]\n"65001:70000" = "exclude"',
            "bgp.communities.65001:70000: is no community; must be two numbers up to 65535",
            id="community",
        ),
        pytest.param(
            HEAD + '[bgp.communities]\n"065001:1" = 2',
            "bgp.communities.065001:1: is no community",
            id="community_not_as_reported",
        ),
        pytest.param(
            HEAD + '[bgp.communities]\n"65001:1:2:3" = 2',
            "bgp.communities.65001:1:2:3: is no community",
            id="four_numbers",
        ),
        pytest.param(
            HEAD + '[bgp.communities]\n"65001:1" = "drop"',
            'bgp.communities.65001:1 = \'drop\': must be "exclude", "backup", or a weight from',
            id="meaning",
        ),
        pytest.param(
            HEAD + '[bgp.communities]\n"65001:1:4294967295" = 0',
            'bgp.communities.65001:1:4294967295 = 0: must be "exclude", "backup", or a weight from',
            id="no_weight",
        ),
        pytest.param(
            HEAD + '[bgp.communities]\n"65001:1" = true',
            "bgp.communities.65001:1 = True: must be",
            id="yes_is_no_weight",
        ),
        pytest.param(
            HEAD + '[bgp.communities]\n"65001:1" = nan',
            "bgp.communities.65001:1 = nan: must be",
            id="nan_is_no_weight",
        ),
        pytest.param(
            HEAD + "communities = 7",
            "bgp.communities = 7: must be a table of community = meaning: two numbers",
            id="no_table",
        ),
        pytest.param(
            HEAD + NEIGHBOR + 'md5_file = "none.md5"',
            "bgp.neighbor[0].md5_file = '{folder}/none.md5': No such file",
            id="no_key_file",
        ),
    ],
)
def test_fault(folder: Path, toml: str, fault: str) -> None:
    """One line names the key, the value and what is allowed."""
    (found,) = faults_of(write(folder, toml))
    assert found.startswith(fault.replace("{folder}", str(folder)))


@pytest.mark.parametrize(
    ("text", "mode", "fault"),
    [
        pytest.param("secret", 0o644, "others can read it", id="open_to_all"),
        pytest.param("secret", 0o640, "others can read it", id="open_to_the_group"),
        pytest.param("", 0o600, "1 to 80 printable", id="empty"),
        pytest.param("secret\t", 0o600, "1 to 80 printable", id="tab"),
        pytest.param("secret'", 0o600, "1 to 80 printable", id="quote"),
        pytest.param("secr\xe9t", 0o600, "must be ASCII", id="not_ascii"),
    ],
)
def test_key_file(folder: Path, text: str, mode: int, fault: str) -> None:
    """It is named for what it holds or who may read it; what it holds is not told.

    The other sessions go on.
    """
    key = folder / "peer.md5"
    key.write_text(text)
    key.chmod(mode)
    (found,) = degraded_of(write(folder, HEAD + NEIGHBOR + 'md5_file = "peer.md5"'))
    assert fault in found
    assert "secr" not in found
