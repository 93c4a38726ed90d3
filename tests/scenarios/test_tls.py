"""The same content over TLS: what clients get, which certificate, and what hostile ones hear."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.browser import browser
from tests.support.byteranges import read_parts
from tests.support.certificates import Pair, make_pair
from tests.support.content import blob, make_store, write_object
from tests.support.daemon import Daemon
from tests.support.streams import close
from tests.support.tls_wire import TlsWire, client_context
from tests.support.waiting import eventually
from tests.support.wire import Address, Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(90)]

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
LARGE = 3 << 20
both_versions = pytest.mark.parametrize("version", [V12, V13], ids=["tls12", "tls13"])


def settings(*pairs: Pair, more: str = "", serve: str = "") -> str:
    """TOML with a listener for each sort of connection."""
    listed = ", ".join(pair.toml for pair in pairs)
    return (
        f'[serve]\nlisten = ["127.0.0.1:0"]\n{serve}\n'
        f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{listed}]\n{more}\n'
    )


def tls_address(daemon: Daemon) -> Address:
    host, _, port = daemon.addresses[-1].rpartition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    return [
        make_pair(folder, "first", "first.example"),
        make_pair(folder, "wild", "*.wild.example", "wild.example"),
        make_pair(folder, "both-ec", "both.example"),
        make_pair(folder, "both-rsa", "both.example", kind="rsa"),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_store(tmp_path_factory.mktemp("tls") / "store")
    write_object(folder, "large.bin", blob(LARGE, seed=61))
    return folder


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path, pairs: list[Pair]) -> Iterator[Daemon]:
    with serve(store, toml=settings(*pairs)) as running:
        yield running


@pytest.fixture(scope="module")
def keyless(store: Path, pairs: list[Pair]) -> Iterator[Daemon]:
    """One whose kernel seems to do TLS, and has the keys of no connection."""
    module = "tests.support.ktls_without_kernel"
    with Daemon.serving(store, toml=settings(*pairs), module=module) as running:
        yield running


@pytest.fixture
def address(daemon: Daemon) -> Address:
    return tls_address(daemon)


# -- content -------------------------------------------------------------------------------------


def certificate_for(address: Address, name: str) -> bytes | None:
    """The certificate that a client gets who asks for this name. Raises OSError."""
    with TlsWire(address, name=name) as wire:
        return wire.certificate()


@both_versions
@pytest.mark.parametrize("key", ["large.bin", "movie.mp4", "small.vtt", "empty.bin"])
def test_objects(address: Address, store: Path, version: ssl.TLSVersion, key: str) -> None:
    with TlsWire(address, client_context(version)) as wire:
        assert wire.tls.version() == version.name.replace("_", ".")
        assert wire.tls.selected_alpn_protocol() == "http/1.1"
        assert wire.get(f"/{key}").body == (store / key).read_bytes()
        head = wire.get(f"/{key}", method="HEAD")
        assert (head.status, head.length) == (200, (store / key).stat().st_size)


@both_versions
@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (16_383, 16_385), (262_143, 524_289), (5, LARGE), (0, 262_144)],
)
def test_ranges(
    address: Address, store: Path, version: ssl.TLSVersion, start: int, stop: int
) -> None:
    with TlsWire(address, client_context(version)) as wire:
        answer = wire.get("/large.bin", [("Range", f"bytes={start}-{stop - 1}")])
    assert answer.status == 206
    assert answer.body == (store / "large.bin").read_bytes()[start:stop]


def test_several_ranges(address: Address, store: Path) -> None:
    whole = (store / "large.bin").read_bytes()
    with TlsWire(address) as wire:
        answer = wire.get("/large.bin", [("Range", "bytes=0-9,1000-400000,900000-900000")])
    assert [whole[part.start : part.stop] for part in read_parts(answer)] == [
        part.data for part in read_parts(answer)
    ]
    assert len(read_parts(answer)) == 3


def test_one_connection_for_many_requests(address: Address, store: Path) -> None:
    """Pipelined too, in order, and with answers that have no body between."""
    whole = (store / "movie.mp4").read_bytes()
    with TlsWire(address) as wire:
        etag = (wire.get("/movie.mp4", method="HEAD").field(b"etag") or b"").decode()
        wire.send(
            request("/movie.mp4")
            + request("/small.vtt")
            + request("/movie.mp4", [("If-None-Match", etag)])
            + request("/missing")
        )
        assert wire.read_response().body == whole
        assert wire.read_response().body == (store / "small.vtt").read_bytes()
        assert wire.read_response().status == 304
        assert wire.read_response().status == 404


def test_a_head_in_many_records(address: Address, store: Path) -> None:
    with TlsWire(address) as wire:
        for byte in request("/small.vtt"):
            wire.send(bytes([byte]))
        assert wire.read_response().body == (store / "small.vtt").read_bytes()


def test_the_end_is_told(address: Address) -> None:
    """close_notify: a client that was told `close` knows that nothing was cut off."""
    with TlsWire(address) as wire:
        wire.tls.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # not in the stubs
        assert wire.get("/small.vtt", [("Connection", "close")]).is_last
        assert wire.read_to_end() == b""


def test_half_closed(address: Address, store: Path) -> None:
    """A client that has said all it has to say (close_notify) still gets its answer, whole."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="first.example")
    with Wire(address) as wire:

        def speak(do: Callable[[], bytes | None]) -> bytes | None:
            while True:
                try:
                    return do()
                except ssl.SSLWantReadError:
                    wire.send(outgoing.read())
                    incoming.write(wire.socket.recv(1 << 18))

        speak(client.do_handshake)
        client.write(request("/large.bin"))
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        wire.send(outgoing.read())
        received = outgoing.read()
        while not received.endswith((store / "large.bin").read_bytes()[-100:]):
            part = speak(lambda: client.read(1 << 16))
            assert part, "the answer was cut"
            received += part
    assert received.partition(b"\r\n\r\n")[2] == (store / "large.bin").read_bytes()


def test_bytes_are_counted(serve: Serve, store: Path, pairs: list[Pair], tmp_path: Path) -> None:
    """By path: over TLS without the kernel's help they are copied. The log has those of bodies."""
    log = tmp_path / "access.log"
    kept = f'access_log = "{log}"\naccess_log_format = "json"\n'
    with serve(store, toml=settings(pairs[0], more='ktls = "off"', serve=kept)) as running:
        with TlsWire(tls_address(running)) as wire:
            wire.get("/large.bin")
            wire.get("/large.bin", [("Range", "bytes=5-1000004")])
            wire.get("/large.bin", method="HEAD")
        counters = running.counters()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["bytes"] for line in lines] == [LARGE, 1_000_000, 0]
    assert counters["bytes_copied"] == LARGE + 1_000_000
    assert counters["bytes_sendfile_hot"] + counters["bytes_sendfile_cold"] == 0
    assert counters["tls_handshakes"] == 1


@both_versions
@pytest.mark.parametrize("key", ["large.bin", "small.vtt"])
def test_sockets_whose_keys_the_kernel_did_not_take(
    keyless: Daemon, store: Path, version: ssl.TLSVersion, key: str
) -> None:
    """OpenSSL encrypts on the socket; sessions, several requests and the end are as ever."""
    whole = (store / key).read_bytes()
    context = client_context(version)
    before = keyless.counters()
    with TlsWire(tls_address(keyless), context, receive_buffer=65_536) as wire:
        wire.tls.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # not in the stubs
        wire.send(request(f"/{key}") + request("/missing"))
        assert wire.read_response().body == whole
        assert wire.read_response().status == 404
        assert wire.get(f"/{key}", [("Connection", "close")]).body == whole
        assert wire.read_to_end() == b""
        session = wire.tls.session
    with TlsWire(tls_address(keyless), context, session=session) as wire:
        assert wire.tls.session_reused
        assert wire.get(f"/{key}", [("Range", "bytes=1-9")]).body == whole[1:10]
    now = keyless.counters()
    assert now["bytes_ktls"] == now["bytes_sendfile_hot"] == 0
    assert now["bytes_copied"] - before["bytes_copied"] >= 2 * len(whole)


def test_plain_http_where_the_socket_has_the_handshake(keyless: Daemon) -> None:
    assert fetch(tls_address(keyless), request("/small.vtt")).status == 400


# -- certificates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("first.example", 0), ("wild.example", 1), ("a.wild.example", 1), ("A.WILD.example", 1),
        ("a.b.wild.example", 0), ("other.example", 0), (None, 0), ("both.example", 2),
    ],
)  # fmt: skip
def test_certificate_for_the_name(
    address: Address, pairs: list[Pair], name: str | None, place: int
) -> None:
    with TlsWire(address, name=name) as wire:
        assert wire.certificate() == pairs[place].der()


def test_certificate_for_the_kind_of_key(address: Address, pairs: list[Pair]) -> None:
    """A client that knows RSA alone gets the certificate that it can check."""
    context = client_context(V12)
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    with TlsWire(address, context, name="both.example") as wire:
        assert wire.certificate() == pairs[3].der()


@both_versions
@pytest.mark.parametrize("name", ["first.example", "a.wild.example"])
def test_sessions_are_resumed_at_any_worker(
    daemon: Daemon, address: Address, version: ssl.TLSVersion, name: str
) -> None:
    """As many connections as it takes to meet both, each with the session of the first."""
    context = client_context(version)
    with TlsWire(address, context, name=name) as wire:
        wire.get("/small.vtt")  # with TLS 1.3, tickets come behind the handshake
        session = wire.tls.session
    before = daemon.counts_of_workers("tls_resumed")
    for _ in range(200):  # the kernel deals them out by their ports
        with TlsWire(address, context, name=name, session=session) as wire:
            assert wire.tls.session_reused
            assert wire.get("/small.vtt").status == 200
        now = daemon.counts_of_workers("tls_resumed")
        if sum(new > old for new, old in zip(now, before, strict=True)) == 2:
            break
    else:
        pytest.fail(f"only one of two workers resumed: {before}, then {now}")


def test_sessions_outlive_a_reload(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Of the settings and of the certificate."""
    pair = make_pair(tmp_path, "a", "a.example")
    context = client_context()
    with serve(store, toml=settings(pair)) as running:
        with TlsWire(tls_address(running), context) as wire:
            wire.get("/small.vtt")
            session = wire.tls.session
        make_pair(tmp_path, "a", "a.example")
        running.signal(signal.SIGHUP)
        eventually(lambda: ": reloaded" in running.log.read_text() or "reloaded:" in
                   running.log.read_text(), "reloaded")  # fmt: skip
        with TlsWire(tls_address(running), context, session=session) as wire:
            assert wire.tls.session_reused
            assert wire.get("/small.vtt").status == 200


def test_changed_files_are_read_again(serve: Serve, store: Path, tmp_path: Path) -> None:
    """A broken pair leaves the one of before in use, and its key is not in the log."""
    pair = make_pair(tmp_path, "a", "a.example")
    old = pair.der()
    with serve(store, toml=settings(pair), workers=1) as running:
        address = tls_address(running)
        with TlsWire(address) as kept:
            secret = pair.key.read_text()
            pair.key.write_text("no key")
            eventually(lambda: "stays in use" in running.log.read_text(), "the fault is told")
            with TlsWire(address) as wire:
                assert wire.certificate() == old
            new = make_pair(tmp_path, "a", "a.example").der()
            eventually(lambda: "read again" in running.log.read_text(), "the new one is read")
            with TlsWire(address) as wire:
                assert wire.certificate() == new
            assert kept.get("/small.vtt").status == 200
        assert secret.splitlines()[1] not in running.log.read_text()
        assert running.counters()["tls_certificate_faults"] == 1


def test_worker_in_the_place_of_a_killed_one(serve: Serve, store: Path, tmp_path: Path) -> None:
    """It shows no client the certificate that there was at the last reload."""
    pair = make_pair(tmp_path, "a", "a.example")
    with serve(store, toml=settings(pair), workers=1) as running:
        new = make_pair(tmp_path, "a", "a.example").der()
        eventually(lambda: "read again" in running.log.read_text(), "the new one is read")
        os.kill(running.workers()[0], signal.SIGKILL)
        with TlsWire(tls_address(running)) as wire:
            assert wire.certificate() == new


def test_reload_with_a_broken_file(serve: Serve, store: Path, tmp_path: Path) -> None:
    """It takes the certificate of before from nobody; another good one is used as ever."""
    pair, other = (make_pair(tmp_path, name, f"{name}.example") for name in "ab")
    old = pair.der()
    with serve(store, toml=settings(pair, other), workers=1) as running:
        first = running.workers()
        pair.cert.write_text("no certificate")
        running.signal(signal.SIGHUP)
        eventually(lambda: not set(first) & set(running.workers()), "the worker is another")
        address = tls_address(running)
        for name, shown in (("a.example", old), ("b.example", other.der())):
            with TlsWire(address, name=name) as wire:
                assert wire.certificate() == shown
        new = make_pair(tmp_path, "a", "a.example").der()
        eventually(lambda: "read again" in running.log.read_text(), "the new one is read")
        with TlsWire(address, name="a.example") as wire:
            assert wire.certificate() == new


def test_a_hundred_certificates_are_reloaded_under_load(
    serve: Serve, store: Path, tmp_path: Path
) -> None:
    """By HUP, with other certificates in the files: no request fails, and all are new."""
    names = [f"n{n}.example" for n in range(100)]
    pairs = [make_pair(tmp_path, name, name) for name in names]
    whole = (store / "large.bin").read_bytes()[:100_000]
    answered = 0

    async def keep_asking(address: Address, number: int, over: asyncio.Event) -> None:
        nonlocal answered
        while not over.is_set():
            reader, writer = await asyncio.open_connection(
                *address, ssl=client_context(), server_hostname=names[number]
            )
            for _ in range(3):
                writer.write(request("/large.bin", [("Range", "bytes=0-99999")]))
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 206")
                assert await reader.readexactly(100_000) == whole
                answered += 1
                if b"Connection: close" in head:
                    break
            await close(writer)

    async def reload(running: Daemon) -> None:
        over = asyncio.Event()
        clients = [keep_asking(tls_address(running), n, over) for n in range(8)]
        asking = [asyncio.create_task(client) for client in clients]
        await asyncio.to_thread(eventually, lambda: answered > 50, "there is load")
        for name in names:
            await asyncio.to_thread(make_pair, tmp_path, name, name)
        running.signal(signal.SIGHUP)
        log = running.log
        await asyncio.to_thread(eventually, lambda: "reloaded:" in log.read_text(), "reloaded")
        goal = answered + 50
        await asyncio.to_thread(eventually, lambda: answered > goal, "there is load after it")
        over.set()
        await asyncio.gather(*asking)

    with serve(store, toml=settings(*pairs)) as running:
        asyncio.run(reload(running))
        for name, pair in list(zip(names, pairs, strict=True))[::9]:
            with TlsWire(tls_address(running), name=name) as wire:
                assert wire.certificate() == pair.der()


# -- clients that do not do as they should -------------------------------------------------------


def test_plain_http(daemon: Daemon, address: Address) -> None:
    before = daemon.counters()["close_plain_http"]
    answer = fetch(address, request("/small.vtt"))
    assert (answer.status, answer.is_last) == (400, True)
    eventually(lambda: daemon.counters()["close_plain_http"] == before + 1, "it is counted")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x80\x2e\x01\x00\x02" + bytes(60),
        bytes(100),
        b"\x15\x03\x03\x00\x02\x02\x28",
        os.urandom(3) + b"\xff" * 4000,
    ],
    ids=["length", "huge", "ssl2", "zeros", "alert", "noise"],
)
def test_garbage_instead_of_a_handshake(daemon: Daemon, address: Address, data: bytes) -> None:
    before = daemon.counters()
    with Wire(address) as wire:
        try:
            wire.send(data)
            wire.half_close()
            wire.read_to_end()
        except OSError:
            pass  # it was cut while we were still talking
    ended = ("close_handshake_failed", "close_client_gone", "close_plain_http")

    def is_counted() -> bool:
        now = daemon.counters()
        return sum(now[reason] - before[reason] for reason in ended) == 1

    eventually(is_counted, "its end is counted")
    with TlsWire(address) as wire:
        assert wire.get("/small.vtt").status == 200


def test_no_common_cipher(address: Address) -> None:
    context = client_context(V12)
    context.set_ciphers("AES128-SHA")
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        TlsWire(address, context)


def test_no_common_version(serve: Serve, store: Path, pairs: list[Pair]) -> None:
    toml = settings(pairs[0], more='min_version = "1.3"')
    with serve(store, toml=toml, workers=1) as running:
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            TlsWire(tls_address(running), client_context(V12))
        with TlsWire(tls_address(running), client_context(V13)) as wire:
            assert wire.get("/small.vtt").status == 200
        assert running.counters()["close_handshake_failed"] == 1


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01"], ids=["silent", "slow"])
def test_a_handshake_that_takes_too_long(
    serve: Serve, store: Path, pairs: list[Pair], data: bytes
) -> None:
    with serve(store, toml=settings(pairs[0], more="handshake_s = 0.3"), workers=1) as running:
        with Wire(tls_address(running)) as wire:
            wire.send(data)
            assert wire.is_ended()
        assert running.counters()["close_handshake_timeout"] == 1


def test_too_many_handshakes(serve: Serve, store: Path, pairs: list[Pair]) -> None:
    """One more has the place of whoever has waited longest: a flood keeps no viewer out."""
    with serve(store, toml=settings(pairs[0], more="handshakes = 3"), workers=1) as running:
        address = tls_address(running)
        silent = [Wire(address) for _ in range(3)]
        eventually(lambda: running.counters()["tls_handshaking"] == 3, "they are under way")
        with TlsWire(address) as wire:
            assert wire.get("/small.vtt").status == 200
        assert running.counters()["close_handshake_limit"] == 1
        assert silent[0].is_ended()
        assert running.counters()["tls_handshaking"] == 2
        for other in silent:
            other.close()
        eventually(lambda: running.counters()["tls_handshaking"] == 0, "they are over")


def test_a_record_that_was_tampered_with(daemon: Daemon, address: Address) -> None:
    before = daemon.counters()["close_tls_error"]
    with TlsWire(address) as wire:
        raw = socket.socket(fileno=os.dup(wire.tls.fileno()))
        with raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            wire.read_to_end()
    eventually(lambda: daemon.counters()["close_tls_error"] == before + 1, "it is counted")


def test_a_client_that_stalls(serve: Serve, store: Path, pairs: list[Pair]) -> None:
    write_object(store, "stall.bin", blob(24 << 20, seed=62))
    more = "[serve.limits]\nstall_s = 0.5\n"
    with (
        serve(store, toml=settings(pairs[0]) + more, workers=1) as running,
        TlsWire(tls_address(running), receive_buffer=4096) as wire,
    ):
        wire.send(request("/stall.bin"))
        # The kernel gives up at twice the time, which comes first on a busy machine.
        reasons = ("close_stall_timeout", "close_client_gone")

        def cut() -> int:
            counts = running.counters()
            return sum(counts[reason] for reason in reasons)

        eventually(lambda: cut() == 1, "it is cut")


# -- real clients --------------------------------------------------------------------------------


def test_curl(address: Address, store: Path, pairs: list[Pair]) -> None:
    """It checks the certificate and its name."""
    port = address[1]
    url = f"https://first.example:{port}/large.bin"
    command = ["curl", "-sf", "--cacert", str(pairs[0].cert), "-r", "100-2999999", url]
    resolve = ["--connect-to", f"first.example:{port}:127.0.0.1:{port}"]
    answer = subprocess.run([*command, *resolve], check=True, stdout=subprocess.PIPE).stdout
    assert answer == (store / "large.bin").read_bytes()[100:3_000_000]


def make_video(path: Path) -> None:
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i",
         "testsrc2=size=640x360:rate=25:duration=20", "-c:v", "libx264", "-preset", "ultrafast",
         "-qp", "12", "-g", "25", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)],
        check=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def video(store: Path) -> Path:
    make_video(store / "video.mp4")
    return store / "video.mp4"


def test_ffmpeg(address: Address, video: Path) -> None:
    """The frames after a seek are those of the file."""

    def frames(source: str) -> bytes:
        command = ["ffmpeg", "-loglevel", "error", "-ss", "11", "-i", source]
        return subprocess.run(
            [*command, "-frames:v", "10", "-f", "framemd5", "-"], check=True, stdout=subprocess.PIPE
        ).stdout

    assert frames(f"https://{address[0]}:{address[1]}/video.mp4") == frames(str(video))


PLAY = """
const [source, second, done] = arguments;
const video = document.createElement('video');
video.muted = true;
video.onerror = () => done({error: video.error.message});
video.onloadedmetadata = () => { video.currentTime = second; };
video.onseeked = () => video.play();
video.ontimeupdate = () => {
  if (video.currentTime > second + 0.2) { video.pause(); done({at: video.currentTime}); }
};
document.body.replaceChildren(video);
video.src = source;
"""


def test_chromium(address: Address, video: Path, tmp_path: Path) -> None:
    """A <video> jumps and plays on from there."""
    with browser(tmp_path, any_certificate=True) as running:
        url = f"https://{address[0]}:{address[1]}/{video.name}"
        running.open(url.replace(video.name, "small.vtt"))  # a page of the server's, to play on
        played = running.run(PLAY, url, 15)
    assert "error" not in played, played
    assert played["at"] >= 15


def test_a_certificate_that_is_bad_takes_no_other_along(
    serve: Serve, store: Path, tmp_path: Path
) -> None:
    """It is named at the start, and served as soon as its files are good."""
    good = make_pair(tmp_path, "good", "good.example")
    late = make_pair(tmp_path, "late", "late.example")
    key = late.key.read_bytes()
    late.key.unlink()
    with serve(store, toml=settings(late, good)) as daemon:
        assert f"certificates[0].key = '{late.key}': No such file" in daemon.log.read_text()
        assert certificate_for(tls_address(daemon), "late.example") == good.der()
        late.key.write_bytes(key)
        eventually(
            lambda: certificate_for(tls_address(daemon), "late.example") == late.der(),
            "the certificate is served",
        )


def test_no_certificate_that_is_good(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Plain HTTP is served; handshakes fail until there is one."""
    pair = make_pair(tmp_path, "late", "late.example")
    key = pair.key.read_bytes()
    pair.key.write_text("to be ordered")
    with serve(store, toml=settings(pair)) as daemon:
        assert fetch(daemon.address, request("/small.vtt")).status == 200
        with pytest.raises(OSError, match=r"(?i)handshake|reset"):
            certificate_for(tls_address(daemon), "late.example")
        pair.key.write_bytes(key)

        def is_served() -> bool:
            try:
                return certificate_for(tls_address(daemon), "late.example") == pair.der()
            except OSError:
                return False

        eventually(is_served, "the certificate is served")


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    """Each fault with its file and line; it is a warning, since `serve` would start."""
    store = tmp_path / "store"
    store.mkdir()
    old = make_pair(tmp_path, "old", "old.example", ends=timedelta(hours=-1))
    file = tmp_path / "c.toml"
    file.write_text(settings(old) + f"\n[[store]]\npath = {json.dumps(str(store))}\n")
    command = [sys.executable, "-m", "ocaserve", "check", "-c", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0
    assert f"{file}:6: warning: tls.certificates[0].cert = " in checked.stderr
    assert "expired on" in checked.stderr
    assert subprocess.run([*command, "--strict"], capture_output=True, check=False).returncode == 1
