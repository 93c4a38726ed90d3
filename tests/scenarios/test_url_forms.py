"""The appliance's own URL forms and its speed test, on real sockets, compared with the bytes."""

from __future__ import annotations

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocaserve.protocol.speedtest import CONTENT_BYTES, make_stretch
from tests.scenarios.conftest import Serve
from tests.support.byteranges import read_parts
from tests.support.content import make_store, write_object
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Response, Wire, fetch, request

pytestmark = pytest.mark.scenario

MOVIE, SMALL = "movie.mp4", "small.vtt"  # sent by sendfile, and from memory
TOML = '[serve]\naccess_log = "off"\nspeedtest = true\n'
HASTY = "[serve.limits]\nstall_s = 1\n"
UPLOAD = "/speedtest/range/0-99"

both_versions = pytest.mark.parametrize("minor", [1, 0], ids=["http11", "http10"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_store(tmp_path_factory.mktemp("forms") / "store")
    write_object(folder, "range/0-9/x", b"0123456789abcdef")
    write_object(folder, "range/list.m3u8", b"#EXTM3U")
    write_object(folder, "speedtest", b"an object")
    return folder


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path) -> Iterator[Daemon]:
    with serve(store, toml=TOML, workers=1) as running:
        yield running


def ask(
    daemon: Daemon, target: str, *fields: tuple[str, str], method: str = "GET", minor: int = 1
) -> Response:
    """One request on a connection of its own."""
    head = request(target, fields, method=method, minor=minor)
    return fetch(daemon.address, head, method=method)


# -- parts by path -------------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("form", ["/range/{}/{}", "/range/{}?o={}"], ids=["path", "query"])
@pytest.mark.parametrize("key", [MOVIE, SMALL])
@pytest.mark.parametrize(
    ("asked", "part"),
    [
        pytest.param("0-0", slice(1), id="first_byte"),
        pytest.param("7-700", slice(7, 701), id="inside"),
        pytest.param("0-99999999", slice(None), id="end_clamped"),
        pytest.param("999-" + "9" * 40, slice(999, None), id="end_of_forty_digits"),
    ],
)
def test_part(
    daemon: Daemon, store: Path, form: str, key: str, asked: str, part: slice, minor: int
) -> None:
    """200 with these bytes, whatever Range says; HEAD tells the same."""
    target = form.format(asked, key)
    expected = (store / key).read_bytes()[part]
    for fields in ([], [("Range", "bytes=0-1")]):
        got = ask(daemon, target, *fields, minor=minor)
        assert (got.status, got.body) == (200, expected)
        assert got.field(b"content-range") is None
        assert got.field(b"accept-ranges") == b"bytes"
        assert got.field(b"access-control-allow-origin") == b"*"
    told = ask(daemon, target, method="HEAD", minor=minor)
    assert (told.status, told.length, told.body) == (200, len(expected), b"")
    assert dict(got.fields) | {b"date": b""} == dict(told.fields) | {b"date": b""}


@pytest.mark.parametrize(
    ("target", "key"),
    [
        pytest.param("/?o=movie.mp4", MOVIE, id="query"),
        pytest.param("/?sc=1&o=movie.mp4&c=de", MOVIE, id="among_others"),
        pytest.param("/?o=season%201%2F%C3%A9.m4s", "season 1/é.m4s", id="escaped"),
        pytest.param("/?o=season%201/%C3%A9.m4s", "season 1/é.m4s", id="slash_as_it_is"),
        pytest.param("/range/list.m3u8", "range/list.m3u8", id="key_below_range"),
        pytest.param("/?o=range/0-9/x", "range/0-9/x", id="key_like_a_form"),
        pytest.param("/?o=speedtest", "speedtest", id="key_like_the_speedtest"),
        pytest.param("http://origin.example?o=movie.mp4", MOVIE, id="absolute_form"),
    ],
)
def test_whole_object(daemon: Daemon, store: Path, target: str, key: str) -> None:
    """And `Range` counts there, as for any object."""
    expected = (store / key).read_bytes()
    for _ in range(2):
        got = ask(daemon, target)
        assert (got.status, got.body) == (200, expected)
    part = ask(daemon, target, ("Range", "bytes=2-4"))
    assert (part.status, part.body) == (206, expected[2:5])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param(f"/range/1000-1000/{SMALL}", 416, id="start_at_the_end"),
        pytest.param("/range/0-0/empty.bin", 416, id="empty_object"),
        pytest.param(f"/range/9-5/{SMALL}", 400, id="backwards"),
        pytest.param(f"/range/5-/{SMALL}", 400, id="open"),
        pytest.param(f"/range/x?o={SMALL}", 400, id="no_part"),
        pytest.param("/?o=../secret.txt", 400, id="parent"),
        pytest.param(f"/?o={SMALL}&o={SMALL}", 400, id="two_objects"),
        pytest.param("/range/0-9/none", 404, id="no_object"),
        pytest.param("/range/0-9?o=none", 404, id="no_object_by_query"),
        pytest.param("/?o=.hidden", 404, id="hidden"),
        pytest.param("/?o=out.mp4", 404, id="link_out"),
        pytest.param("/range/0-9?o=season%201", 404, id="folder"),
        pytest.param("/", 404, id="nothing"),
    ],
)
def test_refused(daemon: Daemon, target: str, status: int, method: str) -> None:
    """The connection stays, and scripts may see the error."""
    with Wire(daemon.address) as wire:
        response = wire.get(target, method=method)
        assert response.status == status
        assert response.field(b"access-control-allow-origin") == b"*"
        size = b"0" if "empty" in target else b"1000"
        expected = b"bytes */" + size if status == 416 else None
        assert response.field(b"content-range") == expected
        assert wire.get(f"/{SMALL}").status == 200


def test_preconditions(daemon: Daemon) -> None:
    """The tag of a part is that of its object."""
    target = f"/range/5-9/{SMALL}"
    tag = (ask(daemon, f"/{SMALL}").field(b"etag") or b"").decode()
    assert ask(daemon, target, ("If-None-Match", tag)).status == 304
    assert ask(daemon, target, ("If-Match", '"other"')).status == 412
    assert ask(daemon, target, ("If-Match", tag)).status == 200


def test_forms_mix_on_one_connection(daemon: Daemon, store: Path) -> None:
    """Each answers as it would alone: none is mistaken for another that names the same object."""
    movie = (store / MOVIE).read_bytes()
    wanted = {
        f"/{MOVIE}": movie,
        f"/range/0-9/{MOVIE}": movie[:10],
        f"/range/10-19/{MOVIE}": movie[10:20],
        f"/range/5-9?o={MOVIE}": movie[5:10],
        f"/?o={MOVIE}": movie,
        f"/{MOVIE}?o={SMALL}": movie,
        f"/?o={SMALL}": (store / SMALL).read_bytes(),
    }
    with Wire(daemon.address) as wire:
        for _ in range(3):
            for target in wanted:
                wire.send(request(target))
            for target, body in wanted.items():
                response = wire.read_response()
                assert (target, response.status) == (target, 200)
                assert response.body == body


def test_replaced_object_is_seen_by_all_forms(daemon: Daemon, store: Path) -> None:
    """What is known of a target is its meaning, not the file."""
    for content in (b"first", b"second!"):
        write_object(store, "new.tmp", content).rename(store / "new.bin")
        for target in ("/range/0-99/new.bin", "/?o=new.bin", "/new.bin"):
            eventually(lambda t=target, c=content: ask(daemon, t).body == c, "it is seen")  # type: ignore[misc]


def test_real_client(daemon: Daemon, store: Path, tmp_path: Path) -> None:
    """What curl gets and believes."""
    for target, part in (
        (f"/range/10-99999999/{MOVIE}", slice(10, None)),
        (f"/range/0-65535?o={MOVIE}", slice(65536)),
    ):
        out = tmp_path / "out"
        url = f"http://{daemon.addresses[0]}{target}"
        subprocess.run(["curl", "-sSf", "-o", out, url], check=True, timeout=20)
        assert out.read_bytes() == (store / MOVIE).read_bytes()[part]


# -- the speed test ------------------------------------------------------------------------------


def test_content(daemon: Daemon) -> None:
    """25 MiB that repeat a stretch, without a copy."""
    before = daemon.counters()
    response = ask(daemon, "/speedtest")
    assert response.status == 200
    assert response.field(b"content-type") == b"application/octet-stream"
    expected = hashlib.sha256(make_stretch() * 25).digest()
    assert (response.length, hashlib.sha256(response.body).digest()) == (CONTENT_BYTES, expected)
    after = daemon.counters()
    assert after["bytes_sendfile_hot"] - before["bytes_sendfile_hot"] == CONTENT_BYTES
    assert after["bytes_copied"] == before["bytes_copied"]


@both_versions
@pytest.mark.parametrize(
    ("target", "start", "count"),
    [
        pytest.param("/speedtest/range/0-0", 0, 1, id="one_byte"),
        pytest.param("/speedtest/range/0-2048?c=de&n=3320", 0, 2049, id="start"),
        pytest.param("/speedtest/range/1048000-1050000", 1_048_000, 2_001, id="over_the_seam"),
        pytest.param("/speedtest/range/26214399-99999999", 26_214_399, 1, id="end_clamped"),
    ],
)
def test_part_of_the_content(
    daemon: Daemon, target: str, start: int, count: int, minor: int
) -> None:
    """N+1 bytes, or what there is."""
    at = start % len(make_stretch())
    got = ask(daemon, target, minor=minor)
    assert (got.status, got.length) == (200, count)
    assert got.body == (make_stretch() * 2)[at : at + count]
    told = ask(daemon, target, method="HEAD", minor=minor)
    assert (told.status, told.length) == (200, count)


def test_range_fields_on_the_content(daemon: Daemon) -> None:
    """It is an object like any other."""
    one = ask(daemon, "/speedtest", ("Range", "bytes=1048570-1048579"))
    assert (one.status, one.body) == (206, (make_stretch() * 2)[1_048_570:1_048_580])
    two = ask(daemon, "/speedtest", ("Range", "bytes=0-4,26214395-"))
    assert two.status == 206
    assert [part.data for part in read_parts(two)] == [make_stretch()[:5], make_stretch()[-5:]]
    assert ask(daemon, "/speedtest/range/26214400-26214401").status == 416


def test_speedtest_that_is_off(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Nothing is there, but for objects of that name."""
    with serve(make_store(tmp_path / "other"), workers=1) as running:
        for target in ("/speedtest", "/speedtest/range/0-9"):
            assert ask(running, target).status == 404
            assert ask(running, target, method="POST").status == 405
    with serve(store, workers=1) as running:
        assert ask(running, "/speedtest").body == b"an object"


# -- uploads -------------------------------------------------------------------------------------


def upload(count: int | None, *fields: tuple[str, str], target: str = UPLOAD) -> bytes:
    length = [] if count is None else [("Content-Length", str(count))]
    return request(target, [*length, *fields], method="POST")


@pytest.mark.parametrize("count", [None, 0, 1, 100, 5_000_000, CONTENT_BYTES], ids=str)
def test_upload(daemon: Daemon, count: int | None) -> None:
    """Read to its end, then answered; the connection goes on."""
    before = daemon.counters()["bytes_uploaded"]
    with Wire(daemon.address, timeout_s=20) as wire:
        for _ in range(2):
            wire.send(upload(count) + bytes(count or 0))
            response = wire.read_response("POST")
            assert (response.status, response.body, response.length) == (200, b"", 0)
            assert response.field(b"access-control-allow-origin") == b"*"
        assert wire.get(f"/range/0-2/{SMALL}").length == 3
    assert daemon.counters()["bytes_uploaded"] - before == 2 * (count or 0)


def test_body_is_no_request(daemon: Daemon) -> None:
    """What stands in a body is thrown away, what stands behind it is answered in order."""
    smuggled = request("/movie.mp4")
    with Wire(daemon.address) as wire:
        ahead, behind = request(f"/{SMALL}"), request("/none")
        wire.send(ahead + upload(len(smuggled)) + smuggled + upload(0) + behind)
        lengths = [wire.read_response().length for _ in range(3)]
        assert lengths == [1000, 0, 0]
        assert wire.read_response().status == 404


def test_body_in_small_pieces(daemon: Daemon) -> None:
    """Nothing is answered before its last byte."""
    with Wire(daemon.address) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.send(upload(20))
        for _ in range(19):
            wire.send(b"x")
        wire.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.read_head()
        wire.socket.settimeout(10)
        wire.send(b"x")
        assert wire.read_response("POST").status == 200


def test_client_that_waits_to_be_told(daemon: Daemon) -> None:
    """100 first, then the answer; without a body there is nothing to wait for."""
    expect = ("Expect", "100-continue")
    with Wire(daemon.address) as wire:
        wire.send(upload(10, expect))
        assert wire.read_head().status == 100
        wire.send(bytes(10))
        assert wire.read_response("POST").status == 200
        wire.send(upload(0, expect))
        assert wire.read_response("POST").status == 200
        wire.send(upload(CONTENT_BYTES + 1, expect))
        assert wire.read_response("POST").status == 413


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(upload(CONTENT_BYTES + 1), 413, id="too_large"),
        pytest.param(upload(10**19 - 1), 413, id="far_too_large"),
        pytest.param(upload(None, ("Transfer-Encoding", "chunked")), 411, id="chunked"),
        pytest.param(upload(10, target="/speedtest"), 405, id="whole"),
        pytest.param(upload(10, target=f"/range/0-9/{SMALL}"), 405, id="part_of_an_object"),
        pytest.param(upload(10, target="/speedtest/range/0-9/x"), 405, id="below"),
        pytest.param(upload(10, target="/speedtest/range/5-"), 400, id="malformed"),
        pytest.param(
            request(UPLOAD, [("Content-Length", "10")], method="PUT"), 405, id="other_method"
        ),
    ],
)
def test_upload_that_is_refused(daemon: Daemon, head: bytes, status: int) -> None:
    """Nothing of the body is read as a request: the connection ends."""
    with Wire(daemon.address) as wire:
        wire.send(head)
        response = wire.read_response("POST")
        assert (response.status, response.is_last) == (status, True)
        assert response.field(b"access-control-allow-origin") == b"*"
        wire.half_close()
        assert wire.is_ended()


def test_client_that_goes_in_the_middle(daemon: Daemon) -> None:
    """By its end or by a reset: counted, and the place is free."""
    before = daemon.counters()["close_client_gone"]
    for leave in (Wire.close, Wire.reset):
        wire = Wire(daemon.address)
        wire.send(upload(1_000) + bytes(10))
        leave(wire)
    with Wire(daemon.address) as wire:
        wire.send(upload(1_000) + bytes(10))
        wire.half_close()
        assert wire.is_ended()
    eventually(lambda: daemon.counters()["close_client_gone"] - before >= 3, "they are gone")


@pytest.mark.slow
def test_upload_that_stalls(serve: Serve, store: Path) -> None:
    """It holds its place for stall_s, and is told why it lost it."""
    with serve(store, toml=TOML + HASTY, workers=1) as running, Wire(running.address) as wire:
        wire.send(upload(1_000) + bytes(10))
        response = wire.read_response("POST")
        assert (response.status, response.is_last) == (408, True)
        assert wire.is_ended()
        eventually(lambda: running.counters()["close_body_timeout"] == 1, "it is counted")


def test_preflight_of_an_upload(daemon: Daemon) -> None:
    """A page may send one, of any type."""
    asked = ("Access-Control-Request-Method", "POST")
    response = ask(daemon, UPLOAD, asked, method="OPTIONS")
    assert response.status == 204
    assert b"POST" in (response.field(b"access-control-allow-methods") or b"")
    elsewhere = ask(daemon, f"/{SMALL}", asked, method="OPTIONS")
    assert b"POST" not in (elsewhere.field(b"access-control-allow-methods") or b"")


def test_upload_by_a_real_client(daemon: Daemon, tmp_path: Path) -> None:
    """Curl waits for 100 with a body of this size."""
    body = tmp_path / "body"
    body.write_bytes(bytes(CONTENT_BYTES))
    command = ["curl", "-sS", "-w", "%{http_code}", "--data-binary", f"@{body}"]
    done = subprocess.run(
        [*command, f"http://{daemon.addresses[0]}{UPLOAD}"],
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == b"200"
