"""hls.js, dash.js and Shaka play a film on by another appliance, and come back as we steer them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.browser import browser
from tests.support.mortal import Mortal
from tests.support.network import Network, network
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.slow, pytest.mark.timeout(180)]

SECONDS = 60
PLAYERS = Path(__file__).parent.parent / "players"
LIBRARIES = {
    "hls.js": "hls.js/dist/hls.min.js",
    "dash.js": "dashjs/dist/modern/umd/dash.all.min.js",
    "shaka.js": "shaka-player/dist/shaka-player.compiled.js",
}
STATE = """
arguments[0](Object.fromEntries(Object.entries(players).map(([name, told]) => [name, {
  at: told.video.currentTime, hosts: told.hosts, stalls: told.stalls, errors: told.errors,
}])));
"""
TELL = """
const [url, done] = arguments;
Promise.all(Object.values(players).map(({ session, failovers }) => fetch(url, {
  method: 'POST', headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ session, failovers }),
}).then((answer) => [answer.status, failovers]))).then(done, (error) => done(error.message));
"""
NEAR, FAR = ("127.0.0.0/16", "127.0.0.0/8"), ("127.0.0.0/8",)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film as HLS and as DASH, of the same segments, and an object."""
    folder = tmp_path_factory.mktemp("content")
    (folder / "film" / "1").mkdir(parents=True)
    subprocess.run(
        ["ffmpeg", "-loglevel", "error",
         "-f", "lavfi", "-i", f"testsrc2=size=160x90:rate=25:duration={SECONDS}",
         "-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}",
         "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-keyint_min", "25",
         "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac",
         "-f", "dash", "-seg_duration", "1", "-hls_playlist", "1", "main.mpd"],
        check=True, cwd=folder / "film" / "1",
    )  # fmt: skip
    (folder / "object.bin").write_bytes(bytes(range(256)) * 8_000)
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page with the players is served; no appliance of the film."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "content").mkdir()
    shutil.copy(PLAYERS / "page.html", folder / "content")
    for name, path in LIBRARIES.items():
        library = PLAYERS / "node_modules" / path
        assert library.exists(), "`./dev test` installs it: npm ci in tests/players"
        shutil.copy(library, folder / "content" / name)
    with Mortal.serving(folder / "content", folder / "own", '[serve]\naccess_log = "off"\n') as one:
        yield f"http://127.0.0.1:{one.port}/page.html"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, content: Path) -> Iterator[Network]:
    """Two appliances whose URLs are signed; the first is the better."""
    folder = tmp_path_factory.mktemp("network")
    heard = {"oca-1": NEAR, "oca-2": FAR}
    with network(folder, heard, content=content, fleet_toml="answer_ttl_s = 10\n") as made:
        yield made


def test_players_go_on_and_come_back(played: Network, page: str, tmp_path: Path) -> None:
    """Each leaves the killed appliance with what it has buffered, and is steered back to it."""
    base = f"http://{played.fleet.clients}/play/film/1"
    films = {
        "hls": f"{base}/master.m3u8",
        "dash": f"{base}/main.mpd",
        "shaka": f"{base}/master.m3u8",
    }
    with browser(tmp_path / "profile") as chromium:
        chromium.open(f"{page}?{urlencode(films)}")

        def state() -> dict[str, Any]:
            found: dict[str, Any] = chromium.run(STATE)
            return found

        def await_all_from(host: str, what: str) -> None:
            found = state()
            try:
                eventually(
                    lambda: all(each["hosts"][-1:] == [host] for each in found.values())
                    or found.update(state()),
                    what, timeout_s=40,
                )  # fmt: skip
            except TimeoutError as error:
                raise AssertionError(f"{error}: {found}") from error

        eventually(lambda: all(each["at"] > 1 for each in state().values()), "all play")
        await_all_from("127.0.0.2", "all begin with the better")
        played.kill("oca-1")
        await_all_from("127.0.0.3", "all went on")
        played.start("oca-1")
        eventually(lambda: "oca-1" in played.fleet.taking(), "it is back")
        chromium.run("passed_ms = 301_000; arguments[0]()")
        await_all_from("127.0.0.2", "all came back")
        found = state()
        told = chromium.run(TELL, f"http://{played.fleet.clients}/v1/qoe")
    assert [status for status, _ in told] == [204] * 3, told
    assert all(failovers for _, failovers in told), (told, found)
    assert not any(each["stalls"] for each in found.values()), found


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["curl", "-sSfL", "-o", "object.bin"], id="curl"),
        pytest.param(["aria2c", "--no-conf", "-q", "-x4", "-k1M", "-o", "object.bin"], id="aria2c"),
    ],
)
def test_redirected_clients(
    played: Network, content: Path, command: list[str], tmp_path: Path
) -> None:
    """Who knows nothing of us follows the redirect."""
    url = f"http://{played.fleet.clients}/r/object.bin"
    subprocess.run([*command, url], check=True, cwd=tmp_path, timeout=60)
    fetched = (tmp_path / "object.bin").read_bytes()
    expected = (content / "object.bin").read_bytes()
    assert hashlib.sha256(fetched).digest() == hashlib.sha256(expected).digest()
