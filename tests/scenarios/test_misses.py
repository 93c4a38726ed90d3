"""A client asks for what is not here: it is told so, or sent on to where it is."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from ocaserve.signing import sign_url
from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(60)]

SECRET = bytes(range(32))


def url_of(daemon: Daemon) -> str:
    return f"http://{daemon.addresses[0]}"


def test_sent_on_with_the_same_right(serve: Serve, tmp_path: Path) -> None:
    """curl follows to a neighbour that asks for signatures too, also for a part; what is here is
    answered here, and what may be had by nobody is refused here.
    """
    here, there = tmp_path / "here", tmp_path / "there"
    body = blob(5000, seed=1)
    write_object(there, "film/ä 1.mp4", body)
    write_object(here, "film/2.mp4", blob(10, seed=2))
    signing = f'[signing]\nkeys = {{ "7" = "{SECRET.hex()}" }}\n'
    with serve(there, toml=signing, workers=1) as neighbour:
        fill = (
            '[fill]\non_miss = "redirect"\nmiss_signed = true\n'
            f'miss_url = "{url_of(neighbour)}/{{path}}"\n'
        )
        with serve(here, toml=fill + signing, workers=1) as daemon:
            expires = int(time.time()) + 60

            def signed(path: str) -> str:
                return sign_url(url_of(daemon) + path, version="7", secret=SECRET, expires=expires)

            def curl(path: str) -> bytes:
                return subprocess.run(
                    ["curl", "-sSfL", signed(path)], capture_output=True, check=True, timeout=20
                ).stdout

            assert curl("/film/%C3%A4%201.mp4") == body
            assert curl("/range/10-19/film/%C3%A4%201.mp4") == body[10:20]
            assert curl("/film/2.mp4") == blob(10, seed=2)
            assert daemon.counters()["misses_redirected"] == 2
            assert fetch(daemon.address, request("/film/%C3%A4%201.mp4")).status == 403


def test_what_cannot_be_told_stays_unavailable(serve: Serve, tmp_path: Path) -> None:
    """A store that is gone may have had it: 503, and nobody is sent away."""
    here, gone = tmp_path / "here", tmp_path / "gone"
    here.mkdir()
    gone.mkdir()
    fill = '[fill]\non_miss = "redirect"\nmiss_url = "http://origin.example.net/{key}"\n'
    with serve(here, gone, toml=fill, workers=1) as daemon:
        answer = fetch(daemon.address, request("/a"))
        assert (answer.status, answer.field(b"location")) == (307, b"http://origin.example.net/a")
        gone.rmdir()
        answer = eventually(
            lambda: (
                found if (found := fetch(daemon.address, request("/b"))).status != 307 else None
            ),
            "the store is missed",
        )
        assert (answer.status, answer.field(b"location")) == (503, None)
