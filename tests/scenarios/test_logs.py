"""Logs that cannot be written: serving goes on, what is lost is counted and said."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import make_store
from tests.support.daemon import STOP_S, Daemon
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = pytest.mark.scenario

_LEAST_PIPE_BYTES = 4_096
TOKENS = """
[control]
listen = ["127.0.0.1:0"]
tokens = { read = ["0123456789abcdef0123456789abcdef"] }
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("logs") / "store")


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A pipe that takes little, and its end that nobody reads."""
    path = tmp_path / "unread"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _LEAST_PIPE_BYTES)
    yield path, reading
    os.close(reading)


def test_standard_output_and_error_that_nobody_reads(store: Path, unread: tuple[Path, int]) -> None:
    """It serves, reloads and stops; whoever reads later is told what was said meanwhile."""
    path, reading = unread
    config = path.with_name("config.toml")
    config.write_text(
        '[serve]\nlisten = ["127.0.0.1:0"]\nworkers = 1\n'
        f'[control]\nlisten = ["unix:{path}.control"]\n[[store]]\npath = "{store}"\n'
    )
    daemon = Daemon.start(["serve", "-c", str(config)], path)
    try:
        _fill(path)
        for _ in range(2):
            first = daemon.workers()[0]
            daemon.signal(signal.SIGHUP)
            eventually(partial(_is_gone, first), "the reload is done")
            assert fetch(daemon.address, request("/small.vtt")).status == 200
        eventually(lambda: b"reload" in _read_more(reading), "the log flows again")
        _fill(path)
    finally:
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(STOP_S) == 0


def _fill(path: Path) -> None:
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"-")
    os.close(writing)


def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def _read_more(reading: int) -> bytes:
    try:
        return os.read(reading, 1 << 16)
    except BlockingIOError:
        return b""


def no_reader(path: Path) -> Callable[[], object]:
    os.mkfifo(path)
    return lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def no_folder(path: Path) -> Callable[[], object]:
    path.parent.rmdir()
    return path.parent.mkdir


def no_file(path: Path) -> Callable[[], object]:
    path.mkdir()
    return path.rmdir


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_reader, "nobody reads it"),
        (no_folder, "No such file or directory"),
        (no_file, "Is a directory"),
    ],
)
def test_access_log_that_cannot_be_written(
    serve: Serve,
    store: Path,
    tmp_path: Path,
    spoil: Callable[[Path], Callable[[], object]],
    reason: str,
) -> None:
    """It is said at the start, serving goes on, lines are counted as lost, and it comes back."""
    path = tmp_path / "logs" / "access.log"
    path.parent.mkdir()
    mend = spoil(path)
    with serve(store, toml=f'[serve]\naccess_log = "{path}"\n', workers=1) as daemon:

        def has_said(text: str) -> bool:
            return f"serve.access_log: {path}: {text}" in daemon.log.read_text()

        eventually(partial(has_said, f"{reason}: lines are lost and counted"), "it is said")
        worker = daemon.workers()
        for _ in range(3):
            assert fetch(daemon.address, request("/small.vtt")).status == 200
        eventually(lambda: daemon.counters()["log_lines_dropped"] == 3, "the lines are counted")
        daemon.signal(signal.SIGUSR1)
        reader = mend()
        eventually(partial(has_said, "written again, 3 lines were lost"), "it comes back")
        assert daemon.workers() == worker
        assert daemon.log.read_text().count(f"serve.access_log: {path}: ") == 2
        if isinstance(reader, int):
            os.close(reader)


def test_tokens_in_no_log(serve: Serve, store: Path, tmp_path: Path) -> None:
    """By whatever way one is sent, in whatever spelling; also where no URL need be signed."""
    path = tmp_path / "access.log"
    token = "Zm9vYmFyLWJhei1xdXV4LTAxMjM0NTY3ODlhYmNkZWY"
    spelt = [
        "?t=",
        ";t=",
        "#t=",
        "/",
        "%3Ft%3D",
        "%253Ft%253D",
        "%2526t%253D",
        "\\u0026t=",
        "&#x74;=",
    ]
    with serve(store, toml=f'[serve]\naccess_log = "{path}"\n', workers=1) as daemon:
        for before in spelt:
            url = f"/small.vtt{before}{token}"
            for head in (
                request(url),
                request("/a", [("Referer", f"http://b{url}"), ("User-Agent", url)]),
                request(url, method=token),
                request(url) + b"bad",
                b"%b\r\n\r\n" % url.encode(),
            ):
                with suppress(ConnectionError, EOFError):
                    fetch(daemon.address, head)
        asked = len(spelt) * 5
        eventually(lambda: daemon.counters()["log_lines"] >= asked, "all is written")
        eventually(lambda: path.read_bytes().count(b"\n") >= asked, "all is written")
        assert token not in path.read_text()
        assert token not in daemon.log.read_text()


def test_wrong_tokens_make_few_lines(serve: Serve, store: Path) -> None:
    """However many there are; how many were left out is told."""
    with serve(store, toml=TOKENS, workers=1) as daemon:
        host, _, port = daemon.control_addresses[0].rpartition(":")
        guess = request("/v1/status", [("Authorization", "Bearer wrong")])
        with Wire((host, int(port))) as wire:
            for _ in range(100):
                wire.send(guess)
                assert wire.read_response().status == 401

        def count_told() -> tuple[int, int]:
            """Lines, and refusals that they tell of."""
            lines = [line for line in daemon.log.read_text().splitlines() if "wrong token" in line]
            more = [re.search(r"(\d+) more like this were left out", line) for line in lines]
            return len(lines), sum(int(found[1]) if found else 1 for found in more)

        eventually(lambda: count_told()[1] == 100, "each is told of")
        assert count_told()[0] < 40


def test_long_odd_agents_leave_nothing_behind(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Of each request another one: the worker's memory stays what it was."""
    path = tmp_path / "access.log"
    toml = f'[serve]\naccess_log = "{path}"\n'
    with serve(store, toml=toml, workers=1) as daemon, Wire(daemon.address) as wire:
        (worker,) = daemon.workers()
        for number in range(1_500):
            if number == 300:
                before = resident_bytes(worker)
            agent = "\xe4\xff" * 7_500 + str(number)
            head = request(f"/small.vtt?{number}", [("User-Agent", agent)], method="HEAD")
            wire.send(head)
            assert wire.read_response("HEAD").status == 200
        assert resident_bytes(worker) - before < 8 << 20
        eventually(lambda: path.read_bytes().count(b"(15004 bytes)"), "long values have a mark")
        assert max(map(len, path.read_bytes().splitlines())) < 4_096


def resident_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
