"""Clients that mean harm, or nothing: refused or cut as designed, counted, felt by no other."""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.byteranges import read_parts
from tests.support.content import SECRET, blob, make_store, write_object
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Response, Wire, fetch, request

pytestmark = pytest.mark.scenario

BIG = "big.mp4"
BIG_BYTES = 24 << 20

LOW_LIMITS = """
[serve.limits]
head_bytes = 8192
header_count = 50
target_bytes = 4096
head_s = 1
idle_s = 1
stall_s = 1
min_bytes_per_s = 100000
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_store(tmp_path_factory.mktemp("hostile") / "store")
    write_object(folder, BIG, blob(BIG_BYTES, seed=5))
    return folder


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path) -> Iterator[Daemon]:
    """One worker, so that the harm would be felt by all."""
    with serve(store, toml=LOW_LIMITS, workers=1) as running:
        yield running


@pytest.fixture(autouse=True)
def bystander(daemon: Daemon, store: Path) -> Iterator[None]:
    """Another client, who fetches without end while the hostile one is at work."""
    stop = threading.Event()
    failures: list[object] = []
    whole = (store / "movie.mp4").read_bytes()

    def watch() -> None:
        try:
            with Wire(daemon.address) as wire:
                while not stop.is_set():
                    if wire.get("/movie.mp4").body != whole:
                        failures.append("a wrong body")
                    stop.wait(0.01)  # leaves the processor to those the test is about
        except Exception as error:  # noqa: BLE001 - whatever it is, the test below reports it
            failures.append(error)

    client = threading.Thread(target=watch)
    client.start()
    yield
    stop.set()
    client.join()
    assert not failures


# -- malformed -----------------------------------------------------------------------------------

HOST = b"Host: origin.example\r\n"


def line(first: bytes) -> bytes:
    return first + b"\r\n" + HOST + b"\r\n"


def field(extra: bytes) -> bytes:
    return b"GET /movie.mp4 HTTP/1.1\r\n" + HOST + extra + b"\r\n\r\n"


REQUEST_LINES = [
    pytest.param(b"GET /movie.mp4\r\n\r\n", 400, id="http09"),
    pytest.param(line(b"GET /movie.mp4"), 400, id="http09_with_fields"),
    pytest.param(b"GET /movie.mp4\nHost: a\nContent-Length: 5\n\n", 400, id="bare_lf_as_http09"),
    pytest.param(b"GET /movie.mp4 HTTP/1.1\n" + HOST + b"\r\n", 400, id="bare_lf"),
    pytest.param(b"GET /movie.mp4 HTTP/1.1\r" + HOST + b"\r\n", 400, id="bare_cr"),
    pytest.param(line(b"GET  /movie.mp4 HTTP/1.1"), 400, id="two_spaces"),
    pytest.param(line(b"GET\t/movie.mp4 HTTP/1.1"), 400, id="tab"),
    pytest.param(line(b" GET /movie.mp4 HTTP/1.1"), 400, id="space_first"),
    pytest.param(line(b"GET /movie.mp4 HTTP/1.1 "), 400, id="space_last"),
    pytest.param(line(b"GET /mo vie.mp4 HTTP/1.1"), 400, id="space_in_target"),
    pytest.param(line(b"GET HTTP/1.1"), 400, id="no_target"),
    pytest.param(line(b"/movie.mp4 HTTP/1.1"), 400, id="no_method"),
    pytest.param(line(b"G(T /movie.mp4 HTTP/1.1"), 400, id="method_no_token"),
    pytest.param(line(b"GET /movie.mp4\x00 HTTP/1.1"), 400, id="nul"),
    pytest.param(line(b"GET /movie\x7f.mp4 HTTP/1.1"), 400, id="delete_character"),
    pytest.param(line(b"GET /movie\xe9.mp4 HTTP/1.1"), 400, id="eight_bit"),
    pytest.param(line(b"GET /movie.mp4#x HTTP/1.1"), 400, id="fragment"),
    pytest.param(line(b"GET movie.mp4 HTTP/1.1"), 400, id="relative"),
    pytest.param(line(b"GET * HTTP/1.1"), 400, id="asterisk_on_get"),
    pytest.param(line(b"GET ftp://origin.example/movie.mp4 HTTP/1.1"), 400, id="other_scheme"),
    pytest.param(line(b"GET /movie.mp4 http/1.1"), 400, id="version_in_lower_case"),
    pytest.param(line(b"GET /movie.mp4 HTTP/1"), 400, id="version_short"),
    pytest.param(line(b"GET /movie.mp4 HTTP/1.10"), 400, id="version_long"),
    pytest.param(line(b"GET /movie.mp4 HTTP/1.\xb9"), 400, id="version_digit_of_latin1"),
    pytest.param(line(b"GET /movie.mp4 HTTP/2.0"), 505, id="version_2"),
    pytest.param(line(b"GET /movie.mp4 HTTP/0.9"), 505, id="version_09"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="http2_preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, id="tls_client_hello"),
    pytest.param(b"\x00" * 64 + b"\r\n\r\n", 400, id="nuls"),
    pytest.param(line(b"GET /" + b"a" * 5000 + b" HTTP/1.1"), 414, id="target_too_long"),
    pytest.param(b"GET /" + b"a" * 9000, 414, id="target_without_end"),
]

FIELD_LINES = [
    pytest.param(b"GET /movie.mp4 HTTP/1.1\r\n\r\n", 400, id="no_host"),
    pytest.param(field(HOST[:-2]), 400, id="host_twice"),
    pytest.param(field(b"Host: other.example"), 400, id="two_hosts"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, id="host_with_space"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, id="host_with_slash"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, id="host_with_comma"),
    pytest.param(field(b"NoColon"), 400, id="no_colon"),
    pytest.param(field(b": value"), 400, id="no_name"),
    pytest.param(field(b"Name : value"), 400, id="space_before_colon"),
    pytest.param(field(b"Na me: value"), 400, id="space_in_name"),
    pytest.param(field(b"Na(me: value"), 400, id="name_no_token"),
    pytest.param(field(b"Na\xe9me: value"), 400, id="name_eight_bit"),
    pytest.param(field(b"Name: a\r\n folded"), 400, id="folded"),
    pytest.param(field(b"Name: a\r\n\tfolded"), 400, id="folded_with_tab"),
    pytest.param(b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", 400, id="space_before_first_field"),
    pytest.param(field(b"Name: a\x00b"), 400, id="nul_in_value"),
    pytest.param(field(b"Name: a\x01b"), 400, id="control_in_value"),
    pytest.param(field(b"Name: a\rb"), 400, id="bare_cr_in_value"),
    pytest.param(field(b"Name: a\rInjected: b"), 400, id="fields_parted_by_cr"),
    pytest.param(field(b"Name: a\nInjected: b"), 400, id="fields_parted_by_lf"),
    pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"\n", 400, id="end_by_lf"),
    pytest.param(field(b"\r\n".join(b"X-%d: y" % n for n in range(60))), 431, id="too_many"),
    pytest.param(field(b"X: " + b"y" * 9000), 431, id="too_long"),
]

UNKNOWN_CODINGS = (b"Transfer-Encoding: xchunked", b"Transfer-Encoding: identity")
FRAMINGS = [
    pytest.param(b"Content-Length: 5\r\nTransfer-Encoding: chunked", id="length_and_chunked"),
    pytest.param(b"Content-Length: 5\r\nContent-Length: 6", id="two_lengths"),
    pytest.param(b"Content-Length: 5\r\nContent-Length: 5", id="same_length_twice"),
    pytest.param(b"Content-Length: 5, 5", id="list_of_lengths"),
    pytest.param(b"Content-Length: +5", id="length_with_plus"),
    pytest.param(b"Content-Length: -5", id="negative_length"),
    pytest.param(b"Content-Length: 0x5", id="hexadecimal_length"),
    pytest.param(b"Content-Length: 5_0", id="length_with_underscore"),
    pytest.param(b"Content-Length: \xb2", id="length_of_latin1_digit"),
    pytest.param(b"Content-Length: 5 5", id="length_with_space"),
    pytest.param(b"Content-Length:", id="empty_length"),
    pytest.param(b"Content-Length: " + b"9" * 400, id="length_of_400_digits"),
    pytest.param(b"Transfer-Encoding: chunked, chunked", id="chunked_twice"),
    pytest.param(b"Transfer-Encoding: xchunked", id="unknown_coding"),
    pytest.param(b"Transfer-Encoding: identity", id="identity"),
    pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", id="two_codings"),
    pytest.param(b"Transfer-Encoding : chunked", id="space_before_colon"),
    pytest.param(b"Transfer-Encoding:\x0bchunked", id="vertical_tab"),
    pytest.param(b"Transfer-Encoding\r\n: chunked", id="name_folded"),
    pytest.param(b"Transfer-Encoding: \x00chunked", id="nul"),
]


def assert_refused(daemon: Daemon, said: bytes, *statuses: int) -> None:
    """One answer with one of these statuses, the end of the connection, one more in the counter."""
    before = daemon.counters()["close_refused"]
    with Wire(daemon.address) as wire:
        wire.send(said)
        response = wire.read_response()
        assert response.status in statuses
        assert response.is_last
        assert SECRET not in response.body
        wire.half_close()
        assert wire.read_to_end() == b""
    eventually(lambda: daemon.counters()["close_refused"] == before + 1, "the refusal is counted")


@pytest.mark.parametrize(("said", "status"), REQUEST_LINES)
def test_malformed_request_line(daemon: Daemon, said: bytes, status: int) -> None:
    """Refused with the status that fits, and the connection ends."""
    assert_refused(daemon, said, status)


def test_refusal_has_its_own_duration(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Also when nothing came before it: no longer than its client has been there."""
    log = tmp_path / "access.log"
    toml = f'[serve]\naccess_log = "{log}"\naccess_log_format = "json"\n'
    began = time.monotonic()
    with serve(store, toml=toml, workers=1) as daemon:
        assert fetch(daemon.address, b"NONSENSE\r\n\r\n").status == 400
        eventually(log.read_text, "it is logged")
    entry = json.loads(log.read_text())
    assert (entry["request"], entry["status"]) == ("NONSENSE", 400)
    assert entry["duration_s"] < time.monotonic() - began


@pytest.mark.parametrize(("said", "status"), FIELD_LINES)
def test_malformed_field(daemon: Daemon, said: bytes, status: int) -> None:
    """Refused with the status that fits, and the connection ends."""
    assert_refused(daemon, said, status)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_malformed_framing(daemon: Daemon, method: bytes, framing: bytes) -> None:
    """Where a request ends must never be in doubt: what follows is not taken for a request."""
    smuggled = request("/small.vtt")
    said = method + b" /movie.mp4 HTTP/1.1\r\n" + HOST + framing + b"\r\n\r\n0\r\n\r\n" + smuggled
    with Wire(daemon.address) as wire:
        wire.send(said)
        response = wire.read_response(method.decode())
        assert response.status == (501 if framing in UNKNOWN_CODINGS else 400)
        wire.half_close()
        assert wire.read_to_end() == b""


@pytest.mark.parametrize("target", ["/movie.mp4", "/.git/config", "/none"])
def test_body_is_never_taken_for_a_request(daemon: Daemon, target: str) -> None:
    """A request inside the body of another gets no answer of its own."""
    smuggled = request("/small.vtt")
    with Wire(daemon.address) as wire:
        length = ("Content-Length", str(len(smuggled)))
        wire.send(request(target, [length], method="POST") + smuggled)
        assert wire.read_response("POST").status == 405
        wire.half_close()
        assert wire.read_to_end() == b""


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(field(b"X: caf\xe9"), id="eight_bit_value"),
        pytest.param(field(b"X:"), id="empty_value"),
        pytest.param(field(b"X:\t a \t"), id="white_space_round_value"),
        pytest.param(field(b"Transfer_Encoding: chunked"), id="underscore_is_another_name"),
        pytest.param(field(b"\r\n".join(b"X-%d: y" % n for n in range(40))), id="many_fields"),
        pytest.param(field(b"Cookie: " + b"y" * 7000), id="long_field"),
        pytest.param(
            b"GET /movie.mp4?" + b"a" * 3900 + b" HTTP/1.1\r\n" + HOST + b"\r\n", id="long"
        ),
    ],
)
def test_unusual_but_allowed(daemon: Daemon, said: bytes) -> None:
    """Strict is not narrow."""
    assert fetch(daemon.address, said).status == 200


# -- known attacks -------------------------------------------------------------------------------


def assert_sane(response: Response, whole: bytes) -> None:
    """A range answer that says no more and nothing else than the object."""
    if response.status == 206 and response.field(b"content-range"):
        assert response.body in whole
    elif response.status == 206:
        assert all(part.data == whole[part.start : part.stop] for part in read_parts(response))
    else:
        assert response.status == 200
        assert response.body == whole
    assert response.length <= len(whole) + 16 * 300


@pytest.mark.parametrize("name", ["Range", "Request-Range"])
@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param(",".join(["0-"] * 1000), id="thousand_whole"),
        pytest.param(",".join(f"{n}-{n}" for n in range(1000)), id="thousand_adjacent"),
        pytest.param(",".join(["0-0"] * 1000), id="thousand_same"),
        pytest.param(",".join(f"5-{n}" for n in range(900)), id="cve_2011_3192"),
        pytest.param("-17208,-9223372036854758792", id="cve_2017_7529"),
        pytest.param(f"0-{2**63},{2**64}-{2**64 + 1}", id="beyond_64_bits"),
        pytest.param("," * 4000, id="commas"),
        pytest.param("0-0," + " " * 4000, id="spaces"),
        pytest.param(",".join(f"{n}-{n + 9}" for n in range(900, 0, -1)), id="cve_2025_62727"),
    ],
)
def test_range_attack(daemon: Daemon, store: Path, name: str, ranges: str) -> None:
    """No list of ranges makes the answer larger than the object."""
    response = fetch(daemon.address, request("/movie.mp4", [(name, f"bytes={ranges}")]))
    assert_sane(response, (store / "movie.mp4").read_bytes())


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/out.mp4", id="cve_2024_23334_link"),
        pytest.param("/../store-outside/secret.txt", id="cve_2023_29159_sibling"),
        pytest.param("/../storesecret.txt", id="cve_2023_29159_prefix"),
        pytest.param("/..%2F..%2Fetc/passwd", id="cve_2022_35920_escaped_slash"),
        pytest.param("/.%2e/.%2e/.%2e/etc/passwd", id="cve_2021_41773_half_escaped"),
        pytest.param("/.%%32%65/.%%32%65/etc/passwd", id="cve_2021_42013_twice_escaped"),
        pytest.param("//etc/passwd", id="two_slashes"),
        pytest.param("/%2fetc/passwd", id="escaped_second_slash"),
        pytest.param("/season%201/..;/..;/etc/passwd", id="semicolon"),
        pytest.param("/%c0%ae%c0%ae/etc/passwd", id="overlong_utf8"),
        pytest.param("/%ff%fe", id="not_utf8"),
        pytest.param("/C:/windows", id="drive"),
        pytest.param("http://origin.example/../etc/passwd", id="absolute_form"),
        pytest.param("/" + "../" * 40 + "etc/passwd", id="many"),
        pytest.param("/?o=../../etc/passwd", id="query"),
    ],
)
def test_traversal(daemon: Daemon, target: str) -> None:
    """Nothing outside of the store is served, nor told to exist."""
    response = fetch(daemon.address, request(target))
    assert response.status in (400, 404)
    assert b"root:" not in response.body
    assert SECRET not in response.body


# -- slow, silent, endless -----------------------------------------------------------------------


def drip(wire: Wire, data: bytes, interval_s: float) -> bytes:
    """Send a byte at a time until all are sent or the server speaks; returns what was not sent."""
    for at in range(len(data)):
        try:
            wire.send(data[at : at + 1])
        except OSError:
            return data[at:]
        if select.select([wire.socket], [], [], interval_s)[0]:
            return data[at + 1 :]
    return b""


def test_head_drip_fed(daemon: Daemon) -> None:
    """The deadline is for the whole head: bytes that trickle do not move it."""
    before = daemon.counters()["close_head_timeout"]
    with Wire(daemon.address) as wire:
        assert drip(wire, field(b"X: " + b"y" * 4000), 0.05)
        wire.half_close()
        answer = wire.read_to_end()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    eventually(lambda: daemon.counters()["close_head_timeout"] == before + 1, "it is counted")


def test_head_drip_fed_in_time(daemon: Daemon) -> None:
    """A slow head that is complete in time is a request like any other."""
    with Wire(daemon.address) as wire:
        drip(wire, request("/small.vtt"), 0.001)
        assert wire.read_response().status == 200


@pytest.mark.parametrize(
    ("said", "counter"),
    [
        pytest.param(b"", "close_head_timeout", id="nothing"),
        pytest.param(b"GET /movie", "close_head_timeout", id="half_a_line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", "close_head_timeout", id="no_end"),
        pytest.param(request("/small.vtt"), "close_idle_timeout", id="one_request"),
        pytest.param(request("/small.vtt") + b"GET", "close_head_timeout", id="one_and_a_bit"),
    ],
)
def test_silent_client(daemon: Daemon, said: bytes, counter: str) -> None:
    """Silence ends a connection; which one it was is counted."""
    before = daemon.counters()[counter]
    with Wire(daemon.address) as wire:
        wire.send(said)
        wire.read_to_end()
    eventually(lambda: daemon.counters()[counter] == before + 1, f"{counter} is counted")


_ENDLESS = 64 << 20  # far more than sockets hold while a busy server has not answered yet


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: y\r\n", id="fields"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"yyyyyyyy", id="field"),
        pytest.param(b"GET /", b"aaaaaaaa", id="target"),
        pytest.param(b"", b"GGGGGGGG", id="method"),
        pytest.param(b"", b"\r\n\r\n\r\n\r\n", id="empty_lines"),
    ],
)
def test_endless_head(daemon: Daemon, begin: bytes, more: bytes) -> None:
    """Refused when it is too long, not when it is over."""
    with Wire(daemon.address) as wire:
        wire.send(begin)
        sent = 0
        while sent < _ENDLESS and not select.select([wire.socket], [], [], 0)[0]:
            try:
                wire.send(more * 128)
            except OSError:
                break
            sent += len(more) * 128
        assert sent < _ENDLESS
        assert wire.read_response().status in (400, 414, 431)


CUTS = ("close_stall_timeout", "close_slow_read", "close_client_gone")
"""How a client that takes nothing may end. The kernel gives up at twice the time, and comes first
where the worker is kept from the processor."""


def count_cuts(daemon: Daemon) -> int:
    counts = daemon.counters()
    return sum(counts[name] for name in CUTS)


def read_slowly(wire: Wire, count: int, interval_s: float, stop: threading.Event) -> None:
    """Read `count` bytes at a time until told to stop. Raises OSError when the server cuts."""
    while not stop.is_set() and wire.socket.recv(count):
        stop.wait(interval_s)


@pytest.mark.parametrize(
    ("count", "interval_s", "counters"),
    [
        pytest.param(1, 0.5, CUTS, id="a_byte_now_and_then"),
        pytest.param(2048, 0.1, ("close_slow_read",), id="below_the_minimum_rate"),
    ],
)
def test_slow_reader(
    daemon: Daemon, count: int, interval_s: float, counters: tuple[str, ...]
) -> None:
    """A client that takes less than the minimum rate is cut."""

    def cut() -> int:
        counts = daemon.counters()
        return sum(counts[name] for name in counters)

    before = cut()
    with Wire(daemon.address, receive_buffer=4096) as wire:
        wire.send(request(f"/{BIG}"))
        stop = threading.Event()
        reading = threading.Thread(target=_ignore_the_cut, args=(wire, count, interval_s, stop))
        reading.start()
        eventually(lambda: cut() == before + 1, f"{counters} are counted")
        stop.set()
        reading.join()


def _ignore_the_cut(wire: Wire, count: int, interval_s: float, stop: threading.Event) -> None:
    try:
        read_slowly(wire, count, interval_s, stop)
    except OSError:  # how it was to end
        return


def test_client_that_never_reads(daemon: Daemon) -> None:
    """Its slot is freed; fifty of them cost the others nothing."""
    before = count_cuts(daemon)
    with ExitStack() as stack:
        for _ in range(50):
            wire = stack.enter_context(Wire(daemon.address, receive_buffer=4096))
            wire.send(request(f"/{BIG}"))
        eventually(lambda: count_cuts(daemon) >= before + 50, "all are cut")
        with Wire(daemon.address) as other:
            other.send(request(f"/{BIG}", [("Range", "bytes=0-9")]))
            assert other.read_response().status == 206


def test_response_ceiling(serve: Serve, store: Path) -> None:
    """A response may not last for ever, however steadily it is read."""
    limits = "[serve.limits]\nresponse_s = 1\nstall_s = 1\nmin_bytes_per_s = 0\n"
    with serve(store, toml=limits) as running, Wire(running.address, receive_buffer=4096) as wire:
        wire.send(request(f"/{BIG}"))
        _ignore_the_cut(wire, 4096, 0.02, threading.Event())
        eventually(lambda: running.counters()["close_response_timeout"] == 1, "it is counted")


def send_for_ever(wire: Wire, flood: bytes) -> None:
    for _ in range(10_000):
        wire.send(flood)


def test_requests_without_reading(daemon: Daemon) -> None:
    """A flood of pipelined requests whose answers nobody reads is left in the kernel, then cut."""
    before = count_cuts(daemon)
    with Wire(daemon.address, receive_buffer=4096) as wire:
        wire.socket.settimeout(0.2)
        flood = request("/movie.mp4") * 100
        with pytest.raises((TimeoutError, ConnectionError)):  # the socket is full, or cut
            send_for_ever(wire, flood)
        eventually(lambda: count_cuts(daemon) > before, "it is cut")
