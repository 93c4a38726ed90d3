"""Signed URLs on the real program: one answer for all that is wrong, and the reason in the log."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocaserve.signing import sign_folder, sign_url
from tests.scenarios.conftest import Serve
from tests.support.content import make_store
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Response, Wire, fetch, request

pytestmark = pytest.mark.scenario

HOST, MOVIE, SMALL = "oca-1.example.net", "movie.mp4", "small.vtt"
SECRETS = {"29": "00112233445566778899aabbccddeeff", "30": "30" * 32, "31": "31" * 16}
KEYS = f'keys = {{ 29 = "{SECRETS["29"]}", 30 = "{SECRETS["30"]}" }}'
LATER = int(time.time()) + 3_600
PAST = int(time.time()) - 3_600


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("signing") / "store")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "access.log"


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path, log: Path) -> Iterator[Daemon]:
    toml = (
        f'[serve]\naccess_log = "{log}"\naccess_log_format = "json"\nspeedtest = true\n'
        f'[signing]\n{KEYS}\nhosts = ["{HOST}", "oca-2.example.net"]\n'
    )
    with serve(store, toml=toml, workers=1) as running:
        yield running


def sign(path: str, version: str = "29", expires: int = LATER, host: str = HOST) -> str:
    """The signed target of a path."""
    secret = bytes.fromhex(SECRETS[version])
    url = sign_url(f"http://{host}{path}", version=version, secret=secret, expires=expires)
    return url.removeprefix(f"http://{host}")


def ask(
    daemon: Daemon,
    target: str,
    *fields: tuple[str, str],
    host: str | None = HOST,
    method: str = "GET",
    minor: int = 1,
) -> Response:
    """One request on a connection of its own."""
    head = request(target, fields, method=method, minor=minor, host=host)
    return fetch(daemon.address, head, method=method)


# -- what is good --------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", [1, 0], ids=["http11", "http10"])
@pytest.mark.parametrize("version", ["29", "30"])
def test_signed_object(daemon: Daemon, store: Path, version: str, minor: int) -> None:
    """As an unsigned one elsewhere, by GET and HEAD, whenever it comes."""
    target, expected = sign(f"/{MOVIE}", version), (store / MOVIE).read_bytes()
    for _ in range(2):
        got = ask(daemon, target, minor=minor, host=f"{HOST.upper()}:8080")
        assert (got.status, got.body) == (200, expected)
    told = ask(daemon, target, method="HEAD", minor=minor)
    assert (told.status, told.length) == (200, len(expected))


def test_one_token_for_any_part_and_form(daemon: Daemon, store: Path) -> None:
    """What a player does with the URL that it was given."""
    expected = (store / MOVIE).read_bytes()
    signature = sign(f"/{MOVIE}").partition("?")[2]
    with Wire(daemon.address) as wire:

        def get(target: str, *fields: tuple[str, str]) -> Response:
            wire.send(request(target, fields, host=HOST))
            return wire.read_response()

        for start in (0, 70_000, 1_000_000):
            stop = start + 50_000
            part = get(f"/{MOVIE}?{signature}", ("Range", f"bytes={start}-{stop - 1}"))
            assert (part.status, part.body) == (206, expected[start:stop])
            for target in (f"/range/{start}-{stop - 1}/{MOVIE}?",
                           f"/range/{start}-{stop - 1}?o={MOVIE}&"):  # fmt: skip
                part = get(target + signature)
                assert (part.status, part.body) == (200, expected[start:stop])
        assert get(f"/?o={MOVIE}&{signature}&sc=1").body == expected


def test_folder_by_the_path(daemon: Daemon, store: Path) -> None:
    """What a player makes of a playlist's URL: names beside it, without a query."""
    name = "season%201/%C3%A9.m4s"
    url = sign_folder(
        f"http://{HOST}/{name}", "season 1", version="29", expires=LATER,
        secret=bytes.fromhex(SECRETS["29"]),
    )  # fmt: skip
    base = url.removeprefix(f"http://{HOST}").removesuffix(name)
    for path, key in ((name, "season 1/é.m4s"), ("season%201/x", "season 1/x")):
        assert ask(daemon, base + path).body == (store / key).read_bytes()
    assert ask(daemon, base + MOVIE).status == 403
    assert ask(daemon, base + name, host="oca-2.example.net").status == 403


def test_speedtest_is_signed_too(daemon: Daemon) -> None:
    """As the key it looks like; uploads also."""
    signature = sign("/speedtest").partition("?")[2]
    target = "/speedtest/range/0-99"
    assert ask(daemon, f"{target}?{signature}&c=de").length == 100
    assert ask(daemon, f"{target}?{signature}", method="POST").status == 200
    assert ask(daemon, target).status == 403
    refused = ask(daemon, target, ("Content-Length", "10"), method="POST")
    assert (refused.status, refused.is_last) == (403, True)


def test_preflight_needs_no_signature(daemon: Daemon) -> None:
    """Browsers send it without what the request will have."""
    asked = ("Access-Control-Request-Method", "GET")
    assert ask(daemon, f"/{MOVIE}", asked, method="OPTIONS").status == 204


def test_real_client(daemon: Daemon, store: Path, tmp_path: Path) -> None:
    """A URL from the command line, given to curl."""
    secret = tmp_path / "secret"
    secret.write_text(SECRETS["29"])
    port = daemon.addresses[0].rpartition(":")[2]
    url = f"http://{HOST}:{port}/range/5-104?o={MOVIE}"
    command = [sys.executable, "-m", "ocaserve", "sign", url]
    signed = subprocess.run(
        [*command, "--secret-file", secret, "--key-version", "29"],
        capture_output=True, text=True, check=True, timeout=20,
    ).stdout.strip()  # fmt: skip
    to = ["--connect-to", f"{HOST}:{port}:{daemon.addresses[0]}"]
    got = subprocess.run(["curl", "-sSf", *to, signed], capture_output=True, check=True, timeout=20)
    assert got.stdout == (store / MOVIE).read_bytes()[5:105]


# -- what is refused -----------------------------------------------------------------------------

GOOD = sign(f"/{SMALL}")
V, E, T = GOOD.partition("?")[2].split("&")
OTHERS = sign(f"/{MOVIE}").partition("&t=")[2]


@pytest.mark.parametrize(
    ("target", "host", "note"),
    [
        pytest.param(f"/{SMALL}", HOST, "missing", id="unsigned"),
        pytest.param(f"/{SMALL}?{E}&{T}", HOST, "missing", id="version_missing"),
        pytest.param(f"/{SMALL}?{V}&{T}", HOST, "missing", id="expiry_missing"),
        pytest.param(f"/{SMALL}?{V}&{E}", HOST, "missing", id="token_missing"),
        pytest.param(f"{GOOD}&{V}", HOST, "repeated", id="version_doubled"),
        pytest.param(f"{GOOD}&{E}", HOST, "repeated", id="expiry_doubled"),
        pytest.param(f"{GOOD}&{T}", HOST, "repeated", id="token_doubled"),
        pytest.param(GOOD.replace("v=29", "v=28"), HOST, "version", id="version_unknown"),
        pytest.param(GOOD.replace("v=29", "v=30"), HOST, "mismatch", id="version_other"),
        pytest.param(GOOD.replace("e=", "e=x"), HOST, "expiry", id="expiry_wrong"),
        pytest.param(GOOD.replace("e=", "e=9"), HOST, "mismatch", id="expiry_moved"),
        pytest.param(sign(f"/{SMALL}", expires=PAST), HOST, "expired", id="expired"),
        pytest.param(f"/{SMALL}?{V}&{E}&t={OTHERS}", HOST, "mismatch", id="other_object"),
        pytest.param(GOOD[:-1], HOST, "mismatch", id="token_cut"),
        pytest.param(f"/range/0-9/{SMALL}?{V}&{E}&{T}x", HOST, "mismatch", id="part"),
        pytest.param(f"/none?{V}&{E}&{T}", HOST, "mismatch", id="no_such_object"),
        pytest.param(GOOD, "oca-2.example.net", "mismatch", id="other_name_of_ours"),
        pytest.param(GOOD, "oca-3.example.net", "host", id="no_name_of_ours"),
        pytest.param(sign(f"/{SMALL}", host="oca-3"), "oca-3", "host", id="signed_for_others"),
    ],
)
def test_refused(daemon: Daemon, log: Path, target: str, host: str, note: str) -> None:
    """One answer, whether the object was asked for before or not; the log alone tells why."""
    before = daemon.counters()["signatures_refused"]
    assert ask(daemon, GOOD).status == 200
    mark = f"{target}&mark={time.monotonic_ns()}" if "?" in target else target
    for method in ("GET", "HEAD"):
        response = ask(daemon, mark, host=host, method=method)
        assert (response.status, response.is_last) == (403, False)
        assert response.body == (b"403 Forbidden\n" if method == "GET" else b"")
        assert {name for name, _ in response.fields} == {
            b"date", b"content-type", b"content-length", b"access-control-allow-origin",
            b"access-control-expose-headers", b"timing-allow-origin", b"cache-control",
        }  # fmt: skip
    assert daemon.counters()["signatures_refused"] - before == 2
    daemon.signal(signal.SIGUSR1)  # which has the log written at once

    def notes() -> list[str]:
        lines = map(json.loads, log.read_text().splitlines() if log.exists() else [])
        logged = re.sub(r"([?&]t=)[^&]*", r"\1-", mark)
        return [
            line["note"] for line in lines if line["target"] == logged and line["status"] == 403
        ]

    assert set(eventually(notes, "it is logged")) == {f"signature_{note}"}
    assert OTHERS not in log.read_text(), "tokens are hidden"


def test_token_of_the_page_before_is_not_logged(daemon: Daemon, log: Path) -> None:
    """A player that follows one signed URL from another tells the first in its Referer."""
    came_from = f"https://{HOST}{sign('/page.html')}"
    token = came_from.rpartition("&t=")[2]
    assert ask(daemon, sign(f"/{MOVIE}"), ("Referer", came_from)).status == 200
    hidden = came_from.replace(token, "-")
    eventually(lambda: f'"referer":"{hidden}"' in log.read_text(), "it is logged")
    assert token not in log.read_text()


def test_without_host(daemon: Daemon) -> None:
    """HTTP/1.0 allows it; a token for no host does not exist."""
    assert ask(daemon, GOOD, host=None, minor=0).status == 403


@pytest.mark.slow
def test_url_ends_on_a_connection_that_stays(serve: Serve, store: Path) -> None:
    """What was good a second ago is known, and yet not good for ever."""
    toml = f'[serve]\naccess_log = "off"\n[signing]\n{KEYS}\nclock_skew_s = 0\n'
    with serve(store, toml=toml, workers=1) as running, Wire(running.address) as wire:

        def status(target: str) -> int:
            wire.send(request(target, host=HOST))
            return wire.read_response().status

        target = sign(f"/{SMALL}", expires=int(time.time()) + 3)
        assert status(target) == 200
        eventually(lambda: status(target) == 403, "it has ended")
        assert status(GOOD) == 200


# -- keys that change ----------------------------------------------------------------------------


def test_keys_are_rotated_without_a_restart(store: Path, tmp_path: Path) -> None:
    """A new key counts after HUP, the old one until it is removed; a bad file changes nothing."""
    config, keys, log = tmp_path / "ocaserve.toml", tmp_path / "keys.toml", tmp_path / "log"
    config.write_text(
        '[serve]\nlisten = ["127.0.0.1:0"]\nworkers = 1\naccess_log = "off"\n'
        f'[signing]\nkeys_file = "keys.toml"\n[[store]]\npath = "{store}"\n'
    )

    keys.touch(0o600)

    def write_keys(*versions: str) -> None:
        keys.write_text("".join(f'{version} = "{SECRETS[version]}"\n' for version in versions))

    def statuses() -> list[int]:
        return [ask(running, sign(f"/{SMALL}", version)).status for version in SECRETS]

    def reload(said: str) -> None:
        seen = log.read_text().count(said)
        running.signal(signal.SIGHUP)
        eventually(lambda: log.read_text().count(said) > seen, said)

    write_keys("29")
    running = Daemon.start(["serve", "-c", str(config)], log)
    try:
        assert statuses() == [200, 403, 403]
        write_keys("29", "30")
        reload("reloaded: ")
        assert statuses() == [200, 200, 403]
        keys.write_text(f'31 = "{SECRETS["31"]}')
        reload("reload refused")
        assert statuses() == [200, 200, 403]
        write_keys("30", "31")
        reload("reloaded: ")
        # A connection that the worker before has accepted already is its own.
        eventually(lambda: statuses() == [403, 200, 200], "the old key counts no more")
    finally:
        running.stop()
    assert not any(secret in log.read_text() for secret in SECRETS.values())
