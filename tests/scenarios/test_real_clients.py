"""Real clients fetch, resume, seek and play, and have the same bytes as the store."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.browser import Browser, browser
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

SIZE = 24 << 20
SECONDS = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients")
    write_object(folder, "object.bin", blob(SIZE, seed=51))
    make_video(folder / "video.mp4")
    (folder / "page.html").write_text("<!doctype html><title>player</title><body></body>")
    return folder


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "access.log"


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path, log: Path) -> Iterator[Daemon]:
    toml = f'[serve]\naccess_log = "{log}"\naccess_log_format = "json"\n'
    with serve(store, toml=toml) as running:
        yield running


@pytest.fixture
def url(daemon: Daemon) -> str:
    return f"http://{daemon.addresses[0]}/object.bin"


def make_video(path: Path) -> None:
    """A film with sound, large enough that no player takes all of it at once."""
    run(
        "ffmpeg", "-loglevel", "error",
        "-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={SECONDS}",
        "-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}",
        "-c:v", "libx264", "-preset", "ultrafast", "-qp", "8", "-g", "25", "-pix_fmt", "yuv420p",
        "-c:a", "aac", "-movflags", "+faststart", str(path),
    )  # fmt: skip


def run(*command: str, cwd: Path | None = None) -> bytes:
    """Output of a command that must end well."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=cwd).stdout


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_same(fetched: Path, store: Path) -> None:
    assert digest(fetched.read_bytes()) == digest((store / "object.bin").read_bytes())


def cut_download(url: str, path: Path) -> None:
    """Have curl fetch a part of the object, and die in the middle."""
    command = ["curl", "-s", "--limit-rate", "4M", "-o", str(path), url]
    with subprocess.Popen(command) as curl:
        eventually(lambda: path.exists() and path.stat().st_size > 1 << 20, "a part is there")
        curl.kill()
    assert path.stat().st_size < SIZE


# -- downloads -----------------------------------------------------------------------------------


def test_curl_range(url: str, store: Path) -> None:
    part = run("curl", "-sf", "-r", "1000000-15999999", url)
    assert digest(part) == digest((store / "object.bin").read_bytes()[1_000_000:16_000_000])


def test_curl_suffix(url: str, store: Path) -> None:
    part = run("curl", "-sf", "-r", "-1000", url)
    assert digest(part) == digest((store / "object.bin").read_bytes()[-1000:])


def test_curl_resumes_after_a_cut(url: str, store: Path, tmp_path: Path) -> None:
    fetched = tmp_path / "object.bin"
    cut_download(url, fetched)
    run("curl", "-sf", "-C", "-", "-o", str(fetched), url)
    assert_same(fetched, store)


def test_wget_resumes_after_a_cut(url: str, store: Path, tmp_path: Path) -> None:
    fetched = tmp_path / "object.bin"
    cut_download(url, fetched)
    run("wget", "-q", "-c", url, cwd=tmp_path)
    assert_same(fetched, store)


def test_wget_finds_the_object_whole(url: str, store: Path, tmp_path: Path) -> None:
    """Resuming what is complete is answered 416, which wget takes for done."""
    run("wget", "-q", "-c", url, cwd=tmp_path)
    run("wget", "-q", "-c", url, cwd=tmp_path)
    assert_same(tmp_path / "object.bin", store)


def test_aria2_in_sixteen_pieces(url: str, store: Path, tmp_path: Path) -> None:
    run("aria2c", "-q", "-x16", "-s16", "-k1M", "-d", str(tmp_path), url)
    assert_same(tmp_path / "object.bin", store)


# -- players -------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [0, 41, SECONDS - 2])
def test_ffmpeg_seeks(daemon: Daemon, store: Path, second: int) -> None:
    """The frames after a seek are those of the file."""

    def frames(source: str) -> bytes:
        return run(
            "ffmpeg", "-loglevel", "error", "-ss", str(second), "-i", source,
            "-frames:v", "10", "-frames:a", "10", "-f", "framemd5", "-",
        )  # fmt: skip

    assert frames(f"http://{daemon.addresses[0]}/video.mp4") == frames(str(store / "video.mp4"))


PLAY = """
const [source, second, done] = arguments;
const video = document.createElement('video');
video.muted = true;
video.onerror = () => done({error: video.error.message});
video.onloadedmetadata = () => { video.currentTime = second; };
video.onseeked = () => video.play();
video.ontimeupdate = () => {
  if (video.currentTime > second + 0.2) {
    video.pause();
    done({at: video.currentTime, width: video.videoWidth, duration: video.duration});
  }
};
document.body.replaceChildren(video);
video.src = source;
"""


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path) as running:
        yield running


def test_chromium_seeks(daemon: Daemon, chromium: Browser, log: Path) -> None:
    """A <video> jumps to the end of the film and plays on from there."""
    # From a page of the same host: a page from elsewhere may not reach into the local network.
    chromium.open(f"http://{daemon.addresses[0]}/page.html")
    played = chromium.run(PLAY, f"http://{daemon.addresses[0]}/video.mp4", SECONDS - 5)
    assert "error" not in played, played
    assert played["at"] >= SECONDS - 5
    assert played["width"] == 640
    assert round(played["duration"]) == SECONDS
    eventually(lambda: any(start > SIZE // 2 for start in asked_by_chromium(log)), "it asked there")


CROSS = """
const [url, headers, done] = arguments;
const names = ["content-range", "content-length", "etag", "date", "accept-ranges"];
fetch(url, {headers}).then(
  async (answer) => done({
    status: answer.status,
    bytes: (await answer.arrayBuffer()).byteLength,
    fields: names.filter((name) => answer.headers.get(name) !== null),
  }),
  (error) => done({error: String(error)}),
);
"""


def test_script_of_another_origin_sends_what_players_do(daemon: Daemon, chromium: Browser) -> None:
    """CMCD by headers, ranges, conditions and caching; and it reads what it needs."""
    port = daemon.addresses[0].rpartition(":")[2]
    chromium.open(f"http://localhost:{port}/page.html")  # another origin than the address
    headers = {
        "CMCD-Object": "br=3200", "CMCD-Request": "mtp=25400", "CMCD-Session": 'sid="6e2f"',
        "CMCD-Status": "bs", "Range": "bytes=10-19,", "If-Range": '"x"',
        "Cache-Control": "no-cache",
        "Pragma": "no-cache", "X-Requested-With": "player",
    }  # fmt: skip
    told = chromium.run(CROSS, f"http://127.0.0.1:{port}/object.bin", headers)
    assert told.get("status") == 200, told  # the version that If-Range names is not there
    headers = {"Range": "bytes=10-19", "CMCD-Object": "br=3200"}
    told = chromium.run(CROSS, f"http://127.0.0.1:{port}/object.bin", headers)
    assert (told.get("status"), told.get("bytes")) == (206, 10), told
    assert len(told["fields"]) == 5
    told = chromium.run(CROSS, f"http://127.0.0.1:{port}/object.bin", {"X-Unheard-Of": "1"})
    assert "error" in told, told


def asked_by_chromium(log: Path) -> list[int]:
    """Where the ranges began that were answered so far."""
    lines = map(json.loads, log.read_text().splitlines())
    answers = [
        line
        for line in lines
        if "Chrome" in (line["user_agent"] or "") and line["target"] == "/video.mp4"
    ]
    assert {line["status"] for line in answers} <= {206}
    return [int(line["range"].removeprefix("bytes=").split("-")[0]) for line in answers]
