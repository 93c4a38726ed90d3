"""Addresses: what `check` says of them, which is what `serve` finds."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocaserve.addresses import Address
from ocaserve.checking import examine
from ocaserve.checking.addresses import Listener, SocketOwner, address_look
from ocaserve.findings import Finding
from tests.support.daemon import Daemon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "disk1").mkdir()
    return tmp_path


def write(folder: Path, toml: str) -> str:
    file = folder / "ocaserve.toml"
    file.write_text(f'{toml}\n[[store]]\npath = "disk1"\n')
    return str(file)


def look(folder: Path, *listen: str, control: str = "127.0.0.1:0") -> list[Finding]:
    toml = f"[serve]\nlisten = {list(listen)}\naccess_log = 'off'\n"
    toml += f"[control]\nlisten = ['{control}']"
    return list(examine(base=write(folder, toml), more=[address_look()]).findings)


@pytest.fixture
def another() -> Iterator[subprocess.Popen[str]]:
    """Another program, which listens on a port that it prints."""
    program = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_good_ones(folder: Path) -> None:
    """Trying them leaves nothing behind."""
    assert look(folder, "127.0.0.1:0", "[::1]:0", f"unix:{folder}/socket") == []
    assert sorted(file.name for file in folder.iterdir()) == ["disk1", "ocaserve.toml"]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        pytest.param("192.0.2.1:80", "Cannot assign requested address", id="another_host"),
        pytest.param("unix:FOLDER/none/socket", "is not a directory", id="no_folder"),
        pytest.param("unix:FOLDER/ocaserve.toml", "a file is there that is no socket", id="file"),
        pytest.param("unix:FOLDER/disk1", "a file is there that is no socket", id="folder"),
        pytest.param("unix:/proc/socket", "/proc: ", id="nothing_can_be_made_there"),
    ],
)
def test_one_that_cannot_be_had(folder: Path, address: str, why: str) -> None:
    """Alone it is refused, among others it is a warning; so it is for operators."""
    address = address.replace("FOLDER", str(folder))
    (fault,) = look(folder, address)
    assert (fault.key, fault.line, fault.severity) == ("serve.listen[0]", 2, "refused")
    assert "cannot listen there: " in fault.why
    assert why in fault.why
    (fault,) = look(folder, "127.0.0.1:0", address)
    assert (fault.key, fault.severity) == ("serve.listen[1]", "degraded")
    faults = look(folder, "127.0.0.1:0", control=address)
    assert ("control.listen[0]", "degraded") in [(each.key, each.severity) for each in faults]


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="a port can be had once")
def test_a_port_that_another_program_has(folder: Path, another: subprocess.Popen[str]) -> None:
    """It is named."""
    assert another.stdout is not None
    port = another.stdout.readline().strip()
    (fault,) = look(folder, f"127.0.0.1:{port}")
    assert f"(pid {another.pid}) has the address" in fault.why
    (fault,) = look(folder, f"0.0.0.0:{port}")
    assert f"(pid {another.pid}) has the address" in fault.why


def test_a_path_that_another_program_has(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(f"{folder}/living")
        living.listen()
        (fault,) = look(folder, f"unix:{folder}/living")
    assert "has the address" in fault.why
    assert look(folder, f"unix:{folder}/living") == []  # left behind, and taken over


@pytest.mark.scenario
def test_those_of_the_running_appliance(folder: Path) -> None:
    """A configuration is checked before it is reloaded."""
    file = write(
        folder,
        f'[serve]\nlisten = ["127.0.0.1:0", "unix:{folder}/serve"]\naccess_log = "off"\n'
        f'workers = 1\n[control]\nlisten = ["unix:{folder}/control"]',
    )
    daemon = Daemon.start(["serve", "-c", file], folder / "log")
    try:
        Path(file).write_text(Path(file).read_text().replace("127.0.0.1:0", daemon.addresses[0]))
        assert examine(base=file, more=[address_look()]).findings == []
        other = folder / "other.toml"
        other.write_text(Path(file).read_text())
        assert len(examine(base=str(other), more=[address_look()]).refused) == 2
    finally:
        daemon.stop()


@pytest.mark.parametrize(
    ("name", "words", "is_ours"),
    [
        ("systemd", "/sbin/init", True),
        ("ocaserve", "/usr/bin/python3 /usr/bin/ocaserve serve -c ocaserve.toml", True),
        ("ocaserve", "/usr/bin/python3 /usr/bin/ocaserve serve", True),
        ("ocaserve", "/usr/bin/python3 /usr/bin/ocaserve serve -c other.toml", False),
        ("nginx", "nginx -c ocaserve.toml", False),
    ],
)
def test_whose_address_it_is(folder: Path, name: str, words: str, is_ours: bool) -> None:
    """By the command line; relative names are those of the process's folder."""
    listener = Listener(12, name, tuple(words.split()), str(folder))
    owner = SocketOwner(str(folder / "ocaserve.toml"), {80: [listener]})
    said = owner.of(Address("127.0.0.1", 80))
    assert said == ("" if is_ours else f"{name} (pid 12) has the address")
