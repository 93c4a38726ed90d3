"""The demo makes a film that plays and seeks, tells what to try, and ends when asked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.browser import browser
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

SEEK = """
const [second, done] = arguments;
const video = document.querySelector('video');
video.onerror = () => done({error: video.error.message});
video.onseeked = () => done({
  at: video.currentTime, duration: video.duration, width: video.videoWidth,
});
const seek = () => { video.currentTime = second; };
if (video.readyState) seek(); else video.onloadedmetadata = seek;
"""


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    free = "127.0.0.1:0"
    command = [sys.executable, "-m", "ocaserve", "demo", "--listen", free, "--control", free]
    command += arguments
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def read_until_told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if line.startswith("Ctrl-C"):
            return told
    raise AssertionError(f"it ended after {told!r}")


def run_as_told(told: str, word: str) -> str:
    """What the command prints that the demo tells for this."""
    found = re.search(rf"(?:ocaserve|-m ocaserve) ({word} .*)", told)
    assert found, told
    command = [sys.executable, "-m", "ocaserve", *found[1].split()]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def address_in(told: str) -> tuple[str, int]:
    found = re.search(r"http://([\d.]+):(\d+)/watch.html", told)
    assert found, told
    return (found[1], int(found[2]))


def test_film_plays_and_seeks(tmp_path: Path) -> None:
    """What the demo tells to try works: the page plays the film, and jumps to its end."""
    with demo("--directory", str(tmp_path / "demo")) as process:
        host, port = address_in(read_until_told(process))
        with browser(tmp_path / "profile") as chromium:
            chromium.open(f"http://{host}:{port}/watch.html")
            played = chromium.run(SEEK, 55)
        assert "error" not in played, played
        assert 55 <= played["at"] < 56
        assert round(played["duration"]) == 60
        assert played["width"] == 640
        part = fetch((host, port), request("/film.mp4", [("Range", "bytes=0-99")]))
        assert part.status == 206
        assert part.body[4:8] == b"ftyp"


def test_kept_film_is_served_again(tmp_path: Path) -> None:
    """A film that is there is not made again; told to end, the demo ends without an error."""
    content = tmp_path / "content"
    content.mkdir()
    (content / "film.mp4").write_bytes(b"kept")
    with demo("--directory", str(tmp_path)) as process:
        told = read_until_told(process)
        assert fetch(address_in(told), request("/film.mp4")).body == b"kept"
        assert "198.51.100.128/25" in run_as_told(told, "routes")
        explained = run_as_told(told, "explain")
        assert explained.startswith("198.51.100.7: steered here\n")
        assert "it has the object 'film.mp4'" in explained
        process.terminate()
        assert process.wait(30) == 0


def test_busy_address_is_an_error(tmp_path: Path) -> None:
    """An appliance that does not start ends the demo with what it says."""
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "film.mp4").write_bytes(b"kept")
    command = [sys.executable, "-m", "ocaserve", "demo", "--listen", "192.0.2.1:1"]
    done = subprocess.run(
        [*command, "--directory", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "cannot listen on 192.0.2.1:1" in done.stderr
    assert "Traceback" not in done.stderr
