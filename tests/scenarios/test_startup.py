"""Started by anybody, from anywhere: descriptors closed, signals blocked, folders missing."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.content import write_object
from tests.support.daemon import START_S, STOP_S
from tests.support.processes import descendants
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

ROOT = Path(__file__).parent.parent.parent
NUMBERS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
HELD = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    write_object(folder, "list.m3u8", b"#EXTM3U")
    return folder


class Started:
    """The program, started with what a test has done before; `facts` is what it says when ready."""

    def __init__(self, process: subprocess.Popen[bytes], facts: str, log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._facts = facts
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text()

    def assert_serves(self) -> None:
        assert self._facts, f"it did not start: {self.said}"
        host, _, port = json.loads(self._facts)["listen"][0].rpartition(":")
        assert fetch((host, int(port)), request("/list.m3u8")).body == b"#EXTM3U"
        assert "Traceback" not in self.said


@contextmanager
def started(
    folder: Path,
    *arguments: str,
    before: Callable[[], object] | None = None,
    environment: dict[str, str] | None = None,
    cwd: Path = ROOT,
    python: tuple[str, ...] = (sys.executable, "-m", "ocaserve"),
) -> Iterator[Started]:
    """Run `ocaserve serve` with these arguments; `before` is called in the process itself."""
    told, ready = os.pipe()
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*python, "serve", *arguments, "--ready-fd", str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            pass_fds=(ready,),
            cwd=cwd,
            env={**os.environ, **(environment or {})} if environment is not None else None,
            preexec_fn=before,
        )
    os.close(ready)
    with os.fdopen(told) as pipe:
        running = Started(process, pipe.readline(), log)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        finally:
            process.kill()
            process.wait()


def listen(folder: Path) -> tuple[str, ...]:
    control = f"unix:{folder}/control"
    return ("--listen", "127.0.0.1:0", "--control", control, "--workers", "1")


# -- descriptors ---------------------------------------------------------------------------------


def test_standard_descriptors_are_closed(tmp_path: Path, store: Path) -> None:
    """They are nothing in every process, never a socket or a file of ours."""

    def close() -> None:
        os.closerange(0, 3)

    with started(tmp_path, str(store), *listen(tmp_path), before=close) as running:
        running.assert_serves()
        for pid in (running.pid, *descendants(running.pid)):
            for descriptor in range(3):
                assert os.readlink(f"/proc/{pid}/fd/{descriptor}") == os.devnull


def test_ready_descriptor_that_is_not_open(tmp_path: Path, store: Path) -> None:
    """It would be the number of something else."""
    done = subprocess.run(
        [sys.executable, "-m", "ocaserve", "serve", str(store), "--ready-fd", "77"],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert "--ready-fd 77: Bad file descriptor" in done.stderr
    assert done.returncode == 2


# -- signals -------------------------------------------------------------------------------------


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, NUMBERS)


def ignore_all() -> None:
    for number in NUMBERS:
        if number not in (32, 33):  # the C library's own
            signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("before", [block_all, ignore_all])
def test_signals(tmp_path: Path, store: Path, before: Callable[[], None]) -> None:
    """It hears those that it should, and its children are seen to end."""
    with started(tmp_path, str(store), *listen(tmp_path), before=before) as running:
        running.assert_serves()
        (worker,) = (
            pid for pid in descendants(running.pid) if name_of(pid).startswith("oca-worker")
        )
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: "was ended by signal 9" in running.said, "the death is seen")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(STOP_S) == 0


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def test_signals_that_come_too_early(tmp_path: Path, store: Path) -> None:
    """What rotates logs does not ask whether all is there yet."""

    def have_them_wait() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        for number in HELD:
            os.kill(os.getpid(), number)

    with started(tmp_path, str(store), *listen(tmp_path), before=have_them_wait) as running:
        running.assert_serves()
        assert "ignored while starting" in running.said


# -- the working directory -----------------------------------------------------------------------


OURS = frozenset(
    {"bgp", "click", "aiohttp", "asyncio", "exabgp", "json", "msgspec", "prometheus_client"}
)


def make_trap(folder: Path, names: frozenset[str]) -> Path:
    """A folder with modules of these names, each of which says that it was imported."""
    place = folder / "trap"
    place.mkdir()
    code = f"open({str(folder / 'caught')!r}, 'a').write(__name__ + '\\n')\nraise ImportError\n"
    for name in names - {"sys", "builtins", "encodings"}:
        (place / f"{name}.py").write_text(code)
    return place


@pytest.mark.parametrize(
    ("path", "names"),
    [
        pytest.param("", OURS | sys.stdlib_module_names, id="all_names"),
        pytest.param(":", OURS, id="path_with_empty_parts"),  # the interpreter itself looks there
    ],
)
def test_working_directory_is_no_place_for_modules(
    tmp_path: Path, store: Path, path: str, names: frozenset[str]
) -> None:
    """Of none of the processes: supervisor, worker, control, ExaBGP, feeder, the next version."""
    trap = make_trap(tmp_path, names)
    config = tmp_path / "ocaserve.toml"
    config.write_text(
        '[serve]\nlisten = ["127.0.0.1:0"]\nworkers = 1\naccess_log = "off"\n'
        f'[control]\nlisten = ["unix:{tmp_path}/control"]\n'
        '[bgp]\nlocal_as = 65000\nrouter_id = "192.0.2.1"\n'
        '[[bgp.neighbor]]\naddress = "127.0.0.9"\npeer_as = 65001\nlocal_address = "127.0.0.1"\n'
        f'[[store]]\npath = "{store}"\n'
    )
    with started(
        tmp_path, "-c", str(config), cwd=trap, environment={"PYTHONPATH": path}
    ) as running:
        running.assert_serves()
        eventually(lambda: "bgp.feeder" in commands_below(running.pid), "the feeder runs")
        running.process.send_signal(signal.SIGUSR2)
        eventually(lambda: ") serves; this one ends" in running.said, "the next version serves")
        new = int(running.said.partition("the new version (pid ")[2].partition(")")[0])
        eventually(lambda: "bgp.feeder" in commands_below(new), "its feeder runs")
        os.kill(new, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{new}/exe").exists(), "it is gone")
    assert not (tmp_path / "caught").exists(), (tmp_path / "caught").read_text()


def commands_below(pid: int) -> str:
    """The command lines of all processes that a process has started."""
    found = ""
    for child in descendants(pid):
        try:
            found += Path(f"/proc/{child}/cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_console_command_in_such_a_directory(tmp_path: Path) -> None:
    """The same."""
    trap = make_trap(tmp_path, OURS | sys.stdlib_module_names)
    program = Path(sys.executable).with_name("ocaserve")
    done = subprocess.run([program, "status", "--help"], cwd=trap, capture_output=True, check=False)
    assert done.returncode == 0
    assert not (tmp_path / "caught").exists()


# -- what else may be odd ------------------------------------------------------------------------


def test_odd_surroundings(tmp_path: Path, store: Path) -> None:
    """No home, no language, a working directory that is gone, files that nobody may read."""
    gone = tmp_path / "gone"
    gone.mkdir()

    def leave() -> None:
        os.umask(0o777)
        os.rmdir(gone)

    told = {name: "" for name in os.environ if name != "PATH"}
    with started(
        tmp_path,
        str(store),
        *listen(tmp_path),
        before=leave,
        cwd=gone,
        environment={**told, "LANG": "tlh_QO", "LC_ALL": "tlh_QO.KOI-7", "HOME": "/nonexistent"},
    ) as running:
        running.assert_serves()


def test_language_that_is_not_of_utf8(tmp_path: Path, store: Path) -> None:
    """Names in settings are UTF-8, whatever the locale says."""
    named = tmp_path / "größe"
    store.rename(named)
    config = tmp_path / "ocaserve.toml"
    config.write_text(f'[[store]]\npath = "{named}"\n', encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with started(tmp_path, "-c", str(config), *listen(tmp_path), environment=ascii_only) as running:
        running.assert_serves()


def test_folder_for_the_run_that_is_not_there(tmp_path: Path, store: Path) -> None:
    """Another one is taken, and it is said."""
    with started(
        tmp_path,
        str(store),
        *listen(tmp_path),
        environment={"RUNTIME_DIRECTORY": "/nonexistent/run"},
    ) as running:
        running.assert_serves()
        assert "no folder for this run in RUNTIME_DIRECTORY = /nonexistent/run: " in running.said


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        pytest.param(resource.RLIMIT_NOFILE, 8, id="descriptors"),
        pytest.param(resource.RLIMIT_FSIZE, 0, id="file_size"),
    ],
)
def test_limit_with_which_nothing_can_be_served(
    tmp_path: Path, store: Path, limit: int, value: int
) -> None:
    """A sentence, and status 1."""

    def set_limit() -> None:
        resource.setrlimit(limit, (value, value))

    told, said = os.pipe()
    with os.fdopen(said, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ocaserve", "serve", str(store), *listen(tmp_path)],
            stderr=out,
            preexec_fn=set_limit,
        )
    with os.fdopen(told) as pipe:
        text = pipe.read()
    assert process.wait(START_S) == 1
    assert "Traceback" not in text
    assert text.startswith("ocaserve: ")
