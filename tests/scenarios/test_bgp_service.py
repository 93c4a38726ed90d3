"""The appliance with a provider's router: ExaBGP beside the workers, as the settings want it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.processes import children, descendants
from tests.support.routers import PORT, Bird, BirdSession, loopback
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

_BGP = '[bgp]\nrouter_id = "192.0.2.10"\nlocal_as = 65000\n'
_KEY = "a key; with {signs}"
_UP_S = 30.0


@pytest.fixture
def bird(tmp_path: Path) -> Iterator[Bird]:
    """A router with two sessions, one of them with a key."""
    folder = tmp_path / "bird"
    folder.mkdir()
    with_key = BirdSession(loopback(), how=f'multihop; passive yes; password "{_KEY}";')
    router = Bird(folder, {"first": BirdSession(loopback()), "second": with_key})
    router.set_routes({"10.1.0.0/16": ""})
    with router.running():
        yield router


def bgp(bird: Bird, *names: str, key: Path | None = None, more: str = "") -> str:
    """The settings for sessions of these names."""
    text = _BGP
    for name in names:
        session = bird.sessions[name]
        text += f'[[bgp.neighbor]]\naddress = "{session.address}"\npeer_as = {bird.peer_as}\n'
        text += f'local_address = "{session.peer}"\nport = {PORT}\n{more}'
        if name == "second" and key is not None:
            text += f"md5_file = {json.dumps(str(key))}\n"
    return text


@contextmanager
def serving(folder: Path, toml: str) -> Iterator[Daemon]:
    """The appliance, whose settings `configure` changes."""
    (folder / "store").mkdir()
    configure(folder, toml)
    daemon = Daemon.start(["serve", "-c", str(folder / "ocaserve.toml")], folder / "log")
    try:
        yield daemon
    finally:
        daemon.stop()


def configure(folder: Path, toml: str) -> None:
    rest = '[serve]\nlisten = ["127.0.0.1:0"]\nworkers = 1\n[control]\nlisten = []\n'
    text = f'{rest}{toml}[[store]]\npath = "store"\n'
    (folder / "ocaserve.toml").write_text(text)


def find_exabgp(daemon: Daemon) -> int | None:
    """The process of ExaBGP."""
    for pid in children(daemon.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"exabgp" in words:
            return pid
    return None


def key_file(folder: Path) -> Path:
    file = folder / "second.md5"
    file.write_text(f"{_KEY}\n")
    file.chmod(0o600)
    return file


def test_without_neighbors(tmp_path: Path) -> None:
    """There is no ExaBGP."""
    with serving(tmp_path, _BGP) as daemon:
        assert find_exabgp(daemon) is None


def test_sessions_come_up(tmp_path: Path, bird: Bird) -> None:
    """One with a key, one without; what holds the key is for its owner alone."""
    with serving(tmp_path, bgp(bird, "first", "second", key=key_file(tmp_path))) as daemon:
        eventually(
            lambda: bird.since("first") and bird.since("second"), "both sessions", timeout_s=_UP_S
        )
        exabgp = find_exabgp(daemon)
        assert exabgp is not None
        words = Path(f"/proc/{exabgp}/cmdline").read_bytes().split(b"\0")
        (config,) = (Path(word.decode()) for word in words if word.endswith(b".conf"))
        assert config.stat().st_mode & 0o077 == 0
        assert config.parent.stat().st_mode & 0o077 == 0
        assert _KEY in config.read_text()
        assert _KEY not in daemon.log.read_text()
        family = [exabgp, *descendants(exabgp)]
    eventually(lambda: not any(map(is_there, family)), "all of it ends with the appliance")
    assert not config.exists()


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_killed_exabgp_comes_back(tmp_path: Path, bird: Bird) -> None:
    """Another one has the session, and nothing is left of the first."""
    with serving(tmp_path, bgp(bird, "first")) as daemon:
        eventually(lambda: bird.since("first"), "the session", timeout_s=_UP_S)
        killed = eventually(lambda: find_exabgp(daemon), "ExaBGP")
        family = descendants(killed)
        os.kill(killed, signal.SIGKILL)
        eventually(
            lambda: find_exabgp(daemon) not in (None, killed) and bird.since("first"),
            "another session",  # BIRD keeps the time of one that it waited for (RFC 4724)
            timeout_s=_UP_S,
        )
        eventually(lambda: not any(map(is_there, family)), "the feeder and its guard are gone")


def test_killed_supervisor_takes_exabgp_along(tmp_path: Path, bird: Bird) -> None:
    """Nobody would stop it later."""
    with serving(tmp_path, bgp(bird, "first")) as daemon:
        eventually(lambda: bird.since("first"), "the session", timeout_s=_UP_S)
        exabgp = find_exabgp(daemon)
        assert exabgp is not None
        daemon.signal(signal.SIGKILL)
        daemon.process.wait()
        eventually(lambda: not is_there(exabgp), "it ends too")


def test_reload(tmp_path: Path, bird: Bird) -> None:
    """Other settings touch no session; other neighbors touch no session but theirs."""
    with serving(tmp_path, bgp(bird, "first")) as daemon:
        before = eventually(lambda: bird.since("first"), "the session", timeout_s=_UP_S)
        exabgp = find_exabgp(daemon)
        configure(tmp_path, bgp(bird, "first").replace("[bgp]", "[bgp]\nlongest_path = 50"))
        reload(daemon, 1)
        configure(tmp_path, bgp(bird, "first", "second", key=key_file(tmp_path)))
        reload(daemon, 2)
        eventually(lambda: bird.since("second"), "the second session", timeout_s=_UP_S)
        configure(tmp_path, bgp(bird, "first"))
        reload(daemon, 3)
        eventually(lambda: not bird.since("second"), "it ends", timeout_s=_UP_S)
        assert bird.since("first") == before
        assert find_exabgp(daemon) == exabgp
        configure(tmp_path, _BGP)
        reload(daemon, 4)
        eventually(lambda: find_exabgp(daemon) is None, "without neighbors there is no ExaBGP")


def reload(daemon: Daemon, times: int) -> None:
    daemon.signal(signal.SIGHUP)
    eventually(lambda: daemon.log.read_text().count("reloaded: ") == times, "reloaded")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_account(tmp_path: Path, bird: Bird) -> None:
    """Started by root, ExaBGP has no more rights than the account it is given."""
    as_nobody = ["runuser", "-u", "nobody", "--", sys.executable, "-P", "-c", "import bgp, exabgp"]
    if subprocess.run(as_nobody, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("this Python, or this checkout, lies where only root can read it")
    with serving(tmp_path, bgp(bird, "first").replace("[bgp]", '[bgp]\nuser = "nobody"')) as daemon:
        eventually(lambda: bird.since("first"), "the session", timeout_s=_UP_S)
        exabgp = find_exabgp(daemon)
        assert exabgp is not None
        for pid in (exabgp, *descendants(exabgp)):
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            assert "Uid:\t65534\t65534\t65534\t65534" in status


# -- check ---------------------------------------------------------------------------------------


def check(folder: Path, toml: str) -> subprocess.CompletedProcess[str]:
    (folder / "store").mkdir(exist_ok=True)
    configure(folder, toml)
    return subprocess.run(
        [sys.executable, "-m", "ocaserve", "check", "-c", str(folder / "ocaserve.toml")],
        capture_output=True,
        text=True,
        check=False,
    )


def test_check(tmp_path: Path, bird: Bird) -> None:
    """ExaBGP's validator has its say, and the routers are named."""
    done = check(tmp_path, bgp(bird, "first", "second"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"routes from {bird.sessions['second'].address} (AS 65001)" in done.stdout


# -- handing over --------------------------------------------------------------------------------


def with_control(folder: Path, toml: str, site: str) -> None:
    configure(folder, f'{toml}[appliance]\nsite = "{site}"\n')
    file = folder / "ocaserve.toml"
    file.write_text(file.read_text().replace("listen = []", f'listen = ["unix:{folder}/control"]'))


def test_control_process_that_is_replaced(tmp_path: Path, bird: Bird) -> None:
    """The session has not moved, so nobody is told that it has, nor that lines were lost."""
    (tmp_path / "store").mkdir()
    with_control(tmp_path, bgp(bird, "first"), "old")
    daemon = Daemon.start(["serve", "-c", str(tmp_path / "ocaserve.toml")], tmp_path / "log")
    try:
        address = f"unix:{tmp_path}/control"
        eventually(lambda: is_complete(address), "all is known", timeout_s=_UP_S)
        before = session_events(address)
        with_control(tmp_path, bgp(bird, "first"), "new")
        command = [sys.executable, "-m", "ocaserve", "reload", "--control", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        eventually(lambda: call(address, "GET", "/v1/report").json["site"] == "new", "replaced")
        eventually(lambda: is_complete(address), "all is known again", timeout_s=_UP_S)
        assert session_events(address) == before
        for word in ("bytes of lines", "wrong token"):
            assert word not in daemon.log.read_text()
    finally:
        daemon.stop()


def is_complete(address: str) -> bool:
    return bool(call(address, "GET", "/v1/report").json["complete"])


def session_events(address: str) -> list[str]:
    events = call(address, "GET", "/v1/history").json["events"]
    return [event["text"] for event in events if event["kind"] == "session"]
