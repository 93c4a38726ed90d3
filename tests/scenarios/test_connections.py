"""The life of connections: order, persistence, ends, numbers."""

from __future__ import annotations

import json
import re
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, make_store, write_object
from tests.support.daemon import Daemon
from tests.support.processes import count_descriptors, resident_memory
from tests.support.waiting import eventually
from tests.support.wire import Response, Wire, fetch, request

pytestmark = pytest.mark.scenario

BIG = "big.mp4"  # more than any socket buffer holds
BIG_BYTES = 24 << 20

MANY = """
[serve.limits]
requests_per_connection = 1000000
connections = 15000
connections_per_address = 0
idle_s = 300
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_store(tmp_path_factory.mktemp("connections") / "store")
    write_object(folder, BIG, blob(BIG_BYTES, seed=9))
    return folder


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path) -> Iterator[Daemon]:
    with serve(store, toml=MANY, workers=1) as running:
        yield running


# -- order ---------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(daemon: Daemon, store: Path) -> None:
    """Two hundred requests sent at once, of all sorts, get their answers in their order."""
    movie, small = ((store / key).read_bytes() for key in ("movie.mp4", "small.vtt"))
    asked: list[tuple[bytes, int, bytes]] = []
    for n in range(50):
        part = ("Range", f"bytes={n * 1000}-{n * 1000 + 40_000}")
        asked += [
            (request("/movie.mp4", [part]), 206, movie[n * 1000 : n * 1000 + 40_001]),
            (request("/small.vtt"), 200, small),
            (request("/none"), 404, b""),
            (request("/small.vtt", [("Range", f"bytes={n}-{n}")]), 206, small[n : n + 1]),
        ]
    with Wire(daemon.address) as wire:
        sending = threading.Thread(target=wire.send, args=(b"".join(head for head, _, _ in asked),))
        sending.start()
        for _, status, body in asked:
            response = wire.read_response()
            assert response.status == status
            assert response.body == body or status == 404
        sending.join()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="whole"),
        pytest.param([("Range", "bytes=100-70000")], id="range"),
        pytest.param([("Range", "bytes=1048000-")], id="open_range"),
        pytest.param([("Range", "bytes=-7")], id="suffix"),
        pytest.param([("Range", "bytes=1048000-99999999")], id="beyond_the_end"),
        pytest.param([("Range", "bytes=0-0,9-10")], id="two_ranges"),
        pytest.param([("Range", "bytes=2000000-")], id="unsatisfiable"),
        pytest.param([("Range", "bytes=9-1")], id="invalid"),
        pytest.param([("If-None-Match", "*")], id="condition"),
    ],
)
@pytest.mark.parametrize("key", ["movie.mp4", "small.vtt", "empty.bin"])
def test_repeated_request_is_answered_alike(
    daemon: Daemon, key: str, fields: list[tuple[str, str]]
) -> None:
    """What is known of a request by then changes nothing of the answer."""

    def without_date(response: Response) -> Response:
        return replace(
            response, fields=tuple(field for field in response.fields if field[0] != b"date")
        )

    with Wire(daemon.address) as wire:
        first, *others = [without_date(wire.get(f"/{key}", fields)) for _ in range(4)]
    with Wire(daemon.address) as wire:
        others.append(without_date(wire.get(f"/{key}", fields)))
    assert others == [first] * 4


def test_repeated_request_of_a_slow_client(serve: Serve, store: Path) -> None:
    """What its socket does not take at once is sent later, and counted once."""
    data = (store / "movie.mp4").read_bytes()
    with serve(store, workers=1) as running:
        with Wire(running.address, receive_buffer=4096) as wire:
            for _ in range(3):
                wire.send(request("/movie.mp4", [("Range", "bytes=5-1000000")]))
                time.sleep(0.05)  # the socket is full meanwhile
                assert wire.read_response().body == data[5:1_000_001]
        counters = running.counters()
        assert counters["bytes_sendfile_hot"] + counters["bytes_sendfile_cold"] == 3 * 999_996
        assert counters["responses_2xx"] == counters["requests"] == 3


def test_answers_wait_for_a_slower_one_before_them(daemon: Daemon, store: Path) -> None:
    """A small object asked for after a large one comes after it."""
    with Wire(daemon.address, receive_buffer=16384) as wire:
        wire.send(request(f"/{BIG}") + request("/small.vtt") + request("/none", method="HEAD"))
        assert wire.read_response().body == (store / BIG).read_bytes()
        assert wire.read_response().body == (store / "small.vtt").read_bytes()
        assert wire.read_response("HEAD").status == 404


def test_head_in_two_segments_cut_anywhere(daemon: Daemon, store: Path) -> None:
    """Where the network cuts a head makes no difference."""
    head = request("/small.vtt", [("Range", "bytes=5-9")])
    with Wire(daemon.address) as wire:
        for cut in range(1, len(head)):
            wire.send(head[:cut])
            wire.send(head[cut:])
            assert wire.read_response().body == (store / "small.vtt").read_bytes()[5:10]


def test_empty_line_before_a_request(daemon: Daemon) -> None:
    """Some clients end a request with one line end too many (RFC 9112 section 2.2)."""
    with Wire(daemon.address) as wire:
        wire.send(request("/small.vtt") + b"\r\n" + request("/small.vtt"))
        assert [wire.read_response().status for _ in range(2)] == [200, 200]


# -- ends ----------------------------------------------------------------------------------------


def test_end_of_an_idle_connection_whose_client_is_slow(serve: Serve, store: Path) -> None:
    """What the kernel holds for it arrives, although it asks for more after that end."""
    data = (store / "movie.mp4").read_bytes()[:1_000_000]
    toml = "[serve.limits]\nidle_s = 1\nlinger_s = 0.5\nmin_bytes_per_s = 1000\n"
    with serve(store, toml=toml, workers=1) as running:
        with Wire(running.address, receive_buffer=4096) as wire:
            wire.send(request("/movie.mp4", [("Range", "bytes=0-999999")]))
            eventually(lambda: running.counters()["responses_2xx"] == 1, "the kernel has it all")
            received = b""
            asked = False
            while part := wire.socket.recv(20_000):
                received += part
                time.sleep(0.05)  # 3 s altogether
                if not asked and len(received) > 600_000:
                    wire.send(request("/small.vtt"))
                    asked = True
        assert asked
        assert received.partition(b"\r\n\r\n")[2] == data
        eventually(lambda: running.counters()["close_idle_timeout"] == 1, "it is counted")


def test_lingering_client_that_reads_nothing(serve: Serve, store: Path) -> None:
    """It does not keep its place."""
    toml = "[serve.limits]\nidle_s = 1\nlinger_s = 0.5\n"
    with (
        serve(store, toml=toml, workers=1) as running,
        Wire(running.address, receive_buffer=4096) as wire,
    ):
        wire.send(request("/movie.mp4", [("Range", "bytes=0-999999")]))
        eventually(lambda: running.counters()["close_idle_timeout"] == 1, "it is closed")


@pytest.mark.parametrize("key", [BIG, "small.vtt", "empty.bin"])
def test_half_closed_client_gets_its_answer(daemon: Daemon, store: Path, key: str) -> None:
    """A client that says it will ask no more still reads the whole answer."""
    with Wire(daemon.address, receive_buffer=16384) as wire:
        wire.send(request(f"/{key}"))
        wire.half_close()
        assert wire.read_response().body == (store / key).read_bytes()
        assert wire.read_to_end() == b""


@pytest.mark.parametrize("key", [BIG, "small.vtt"])
def test_half_closed_client_gets_all_pipelined_answers(
    daemon: Daemon, store: Path, key: str
) -> None:
    """The end of the requests is no end of the answers."""
    whole = (store / key).read_bytes()
    with Wire(daemon.address) as wire:
        wire.send(request(f"/{key}") * 6)
        wire.half_close()
        for _ in range(6):
            assert wire.read_response().body == whole
        assert wire.read_to_end() == b""


def test_refusal_reaches_a_client_that_is_still_sending(daemon: Daemon) -> None:
    """Unread bytes would make the close a reset, which can destroy the answer (9112, 9.6)."""
    with Wire(daemon.address) as wire:
        wire.send(request("/movie.mp4", [("Content-Length", "4000000")], method="POST"))
        for _ in range(20):
            wire.send(bytes(50_000))
        assert wire.read_response("POST").status == 405
        wire.half_close()
        assert wire.read_to_end() == b""


def test_aborted_response_frees_its_place(daemon: Daemon) -> None:
    """A client that vanishes in the middle is noticed and counted."""
    before = daemon.counters()["close_client_gone"]
    with Wire(daemon.address, receive_buffer=4096) as wire:
        wire.send(request(f"/{BIG}"))
        wire.read_exactly(10_000)
        wire.reset()
    eventually(lambda: daemon.counters()["close_client_gone"] == before + 1, "the abort is counted")


def test_requests_per_connection(serve: Serve, store: Path) -> None:
    """The last request allowed is answered with Connection: close, and counted."""
    limits = "[serve.limits]\nrequests_per_connection = 3\n"
    with serve(store, toml=limits) as running:
        with Wire(running.address) as wire:
            wire.send(request("/small.vtt") * 4)
            answers = [wire.read_response() for _ in range(3)]
            assert [answer.is_last for answer in answers] == [False, False, True]
            assert wire.read_to_end() == b""
        eventually(lambda: running.counters()["close_request_limit"] == 1, "the end is counted")


@pytest.mark.parametrize("minor", [0, 1])
def test_a_last_response_is_counted_once(serve: Serve, store: Path, minor: int) -> None:
    """The response after which the connection ends is one response, in counters and log."""
    with serve(store, toml='[serve]\naccess_log = "-"\n', workers=1) as running:
        fields = [("Connection", "close")]
        for _ in range(3):
            fetch(running.address, request("/movie.mp4", fields, minor=minor))
        eventually(lambda: running.counters()["close_asked"] == 3, "all are closed")
        assert running.counters()["responses_2xx"] == 3
        eventually(lambda: running.log.read_text().count("GET /movie.mp4") >= 3, "they are logged")
        assert running.log.read_text().count("GET /movie.mp4") == 3


@pytest.mark.parametrize(
    ("limit", "counter"),
    [("connections", "close_overload"), ("connections_per_address", "close_address_limit")],
)
def test_connection_limits(serve: Serve, store: Path, limit: str, counter: str) -> None:
    """One connection too many hears 503; the others go on; a place that is freed counts."""
    with (
        serve(store, toml=f"[serve.limits]\n{limit} = 4\n", workers=1) as running,
        ExitStack() as held,
    ):
        wires = [held.enter_context(Wire(running.address)) for _ in range(4)]
        assert [wire.get("/small.vtt").status for wire in wires] == [200] * 4
        with Wire(running.address) as late:
            assert late.read_response().status == 503
            assert late.is_ended()
        assert [wire.get("/small.vtt").status for wire in wires] == [200] * 4
        assert running.counters()[counter] == 1
        wires.pop().close()
        eventually(lambda: running.counters()["connections"] == 3, "the place is free")
        assert fetch(running.address, request("/small.vtt")).status == 200


# -- many ----------------------------------------------------------------------------------------


def test_a_fast_client_starves_nobody(daemon: Daemon) -> None:
    """While one client takes a gigabyte as fast as it can, another gets its answers in between."""
    served_between = 0
    fast_done = threading.Event()

    def read_much() -> None:
        with Wire(daemon.address) as wire:
            for _ in range((1 << 30) // BIG_BYTES):
                wire.get(f"/{BIG}")
        fast_done.set()

    fast = threading.Thread(target=read_much)
    with Wire(daemon.address) as wire:
        wire.get("/small.vtt")
        fast.start()
        while not fast_done.is_set():
            assert wire.get("/small.vtt").status == 200
            served_between += 1
    fast.join()
    assert served_between > (1 << 30) // BIG_BYTES  # at least one for each of the large answers


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ten_thousand_idle_connections(serve: Serve, store: Path) -> None:
    """One worker holds them all, answers on each, and gives the memory back."""
    count = 10_000
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most > count + 1000, f"{most} descriptors a process are allowed; want {count + 1000}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with serve(store, toml=MANY, workers=1) as running, ExitStack() as held:
        (worker,) = running.workers()
        fetch(running.address, request("/small.vtt"))
        before = resident_memory(worker)
        wires = [held.enter_context(Wire(running.address)) for _ in range(count)]
        assert all(wire.get("/small.vtt").status == 200 for wire in wires)
        each = (resident_memory(worker) - before) / count
        assert running.counters()["connections"] == count
        assert all(wire.get("/small.vtt").status == 200 for wire in wires[::100])
        print(f"memory per idle connection: {each:.0f} bytes")
        assert each < 16_384
        held.close()
        eventually(lambda: running.counters()["connections"] == 0, "all have gone")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_descriptor_leaks(daemon: Daemon) -> None:
    """After 100,000 requests and 1,000 aborted ones the worker holds what it held before."""
    (worker,) = daemon.workers()
    fetch(daemon.address, request("/small.vtt"))
    fetch(daemon.address, request(f"/{BIG}", [("Range", "bytes=0-0")]))
    eventually(lambda: daemon.counters()["connections"] == 0, "earlier clients have gone")
    before = count_descriptors(worker)
    _ask_many(daemon, 100_000)
    for n in range(1000):
        _abort(daemon, after_bytes=n * 37)
    eventually(lambda: daemon.counters()["connections"] == 0, "all have gone")
    eventually(lambda: count_descriptors(worker) <= before, f"{before} descriptors again")


def _ask_many(daemon: Daemon, count: int, batch: int = 200) -> None:
    asked = [request("/small.vtt"), request("/movie.mp4", [("Range", "bytes=9-40000")])]
    heads = b"".join(asked) * (batch // 2)
    with Wire(daemon.address) as wire:
        for _ in range(count // batch):
            sending = threading.Thread(target=wire.send, args=(heads,))
            sending.start()
            for _ in range(batch):
                assert wire.read_response().status in (200, 206)
            sending.join()


def _abort(daemon: Daemon, after_bytes: int) -> None:
    with Wire(daemon.address, receive_buffer=4096) as wire:
        wire.send(request(f"/{BIG}"))
        wire.read_exactly(after_bytes)
        wire.reset()


# -- the access log ------------------------------------------------------------------------------

COMBINED = re.compile(
    r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "([^"]*)" (\d{3}) (\d+)'
    r' "([^"]*)" "([^"]*)"'
)


def _play_for_the_log(running: Daemon) -> list[tuple[str, int]]:
    """Ask for some things; returns the request lines and statuses that must be logged."""
    agent = ("User-Agent", 'a "quoted" \\ agent')
    with Wire(running.address) as wire:
        wire.get("/small.vtt", [agent, ("Referer", "https://player.example/")])
        wire.get("/movie.mp4", [agent, ("Range", "bytes=0-99999")])
        wire.get("/movie.mp4", [agent], method="HEAD")
        wire.get("/none?x=1", [agent])
        wire.get("/small.vtt", [agent], method="DELETE")
        wire.send(b"GET /\x01 HTTP/1.1\r\n\r\n")
        wire.read_response()
    with Wire(running.address, receive_buffer=4096) as wire:
        wire.send(request(f"/{BIG}", [agent]))
        wire.read_exactly(5000)
        wire.reset()
    return [
        ("GET /small.vtt HTTP/1.1", 200),
        ("GET /movie.mp4 HTTP/1.1", 206),
        ("HEAD /movie.mp4 HTTP/1.1", 200),
        ("GET /none?x=1 HTTP/1.1", 404),
        ("DELETE /small.vtt HTTP/1.1", 405),
        ("GET /\\x01 HTTP/1.1", 400),
        (f"GET /{BIG} HTTP/1.1", 200),
    ]


def _logged(serve: Serve, store: Path, path: Path, form: str) -> tuple[list[tuple[str, int]], str]:
    """What must stand in the log after a play, and the log."""
    toml = f'[serve]\naccess_log = "{path}"\naccess_log_format = "{form}"\n'
    with serve(store, toml=toml, workers=1) as running:
        expected = _play_for_the_log(running)
        eventually(lambda: running.counters()["close_client_gone"], "the abort is noticed")
    return expected, path.read_text()


def test_combined_log(serve: Serve, store: Path, tmp_path: Path) -> None:
    """One line for each response, whole or cut; nothing a client says breaks out of it."""
    expected, text = _logged(serve, store, tmp_path / "access.log", "combined")
    lines = [COMBINED.fullmatch(line) for line in text.splitlines()]
    assert all(lines), text
    found = [line.groups() for line in lines if line is not None]
    assert [(line[0], int(line[1])) for line in found] == expected
    sizes = [int(line[2]) for line in found]
    assert sizes[:3] == [1000, 100_000, 0]
    assert 5000 - 400 <= sizes[-1] < BIG_BYTES  # what the socket took before the client went
    assert found[0][3] == "https://player.example/"
    assert found[0][4] == r"a \x22quoted\x22 \x5C agent"


def test_json_log(serve: Serve, store: Path, tmp_path: Path) -> None:
    """The same as JSON: an object a line."""
    expected, text = _logged(serve, store, tmp_path / "access.json", "json")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["status"] for line in lines] == [status for _, status in expected]
    first = lines[0]
    assert (first["method"], first["target"], first["bytes"]) == ("GET", "/small.vtt", 1000)
    assert first["user_agent"] == 'a "quoted" \\ agent'
    assert lines[1]["range"] == "bytes=0-99999"
    assert lines[-1]["note"] == "client_gone"
