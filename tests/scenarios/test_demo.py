"""The demo makes a film that plays and seeks, tells what to try, and ends when asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from ocaserve.demo import running
from tests.support.browser import browser
from tests.support.content import blob
from tests.support.waiting import eventually
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

SHOWN = """
const text = (id) => document.getElementById(id).textContent;
arguments[0](`${text('content-state')} ${text('content')}`);
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
        followed = run_as_told(told.replace("-o film.mp4", f"-o {tmp_path}/film"), "follow")
        assert followed.startswith(f"{tmp_path}/film: 4 bytes in ")
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


def processes_of(place: Path) -> list[psutil.Process]:
    """Those that have it in their command."""
    found = psutil.process_iter(["cmdline"])
    return [each for each in found if str(place) in " ".join(each.info["cmdline"] or ())]


def test_without_a_second_one_nothing_is_left(tmp_path: Path) -> None:
    """An error ends the demo with what is wrong, and the appliance that runs already."""
    content = tmp_path / "content"
    content.mkdir()
    (content / "film.mp4").write_bytes(b"kept")
    (content / os.fsdecode(b"\xff")).write_bytes(b"no manifest can name it")
    log = tmp_path / "said"
    command = [sys.executable, "-m", "ocaserve", "demo", "--directory", str(tmp_path)]
    command += ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    try:
        with log.open("w") as said:
            done = subprocess.run(command, stdout=said, stderr=said, timeout=60, check=False)
        assert done.returncode == 1
        assert "surrogates not allowed" in log.read_text()
        assert "Traceback" not in log.read_text()
        assert not processes_of(tmp_path)
    finally:
        for each in processes_of(tmp_path):
            each.kill()


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(
            each, id=each.program, marks=[] if each.program == "curl" else pytest.mark.exhaustive
        )
        for each in running.CLIENTS
    ],
)
def test_what_is_told_works_with_what_is_there(client: running.DemoClient, tmp_path: Path) -> None:
    """Whichever program the machine has to fetch with."""
    if not shutil.which(client.program):
        pytest.skip(f"no {client.program} here")
    content = tmp_path / "content"
    content.mkdir()
    (content / "film.mp4").write_bytes(bytes(1000))
    with demo("--directory", str(tmp_path)) as process:
        host, port = address_in(read_until_told(process))
        film = f"http://{host}:{port}/film.mp4"
        for told, sign in ((client.range, r"bytes 0-99/1000|^100$"), (client.rest, "")):
            done = subprocess.run(
                told.format(film), shell=True, cwd=tmp_path,
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert re.search(sign, done.stdout + done.stderr, re.MULTILINE)
        assert (tmp_path / "film.mp4").read_bytes() == bytes(1000)
        page = client.page.format(f"http://{host}:{port}/watch.html")
        done = subprocess.run(page, shell=True, capture_output=True, text=True, check=True)
        assert "<!doctype html>" in done.stdout


def is_there(url: str) -> bool:
    """The second appliance gets the film while we ask."""
    try:
        with urlopen(url) as answer:
            return bool(answer.status == 200)
    except HTTPError:
        return False


def test_second_appliance_is_filled(tmp_path: Path) -> None:
    """From the first one, as its page shows; its copy is the same, and gone on with.

    What an earlier demo left does no harm, and what is not the demo's stays.
    """
    content = tmp_path / "content"
    content.mkdir()
    (content / "film.mp4").write_bytes(blob(300_000, seed=1))
    (content / "manifest.json").write_text("of an earlier demo")
    (tmp_path / ".ocaserve-demo-second" / "store").mkdir(parents=True)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "mine").touch()
    with demo("--directory", str(tmp_path)) as process:
        told = read_until_told(process)
        found = re.search(r"open (http://[\d.:]+/) in a browser, and look at Content", told)
        assert found, told
        with browser(tmp_path / "profile") as chromium:
            chromium.open(found[1])
            eventually(
                lambda: re.match(r"idle .*of 4 in manifest", chromium.run(SHOWN)), "all is here",
                timeout_s=30,
            )  # fmt: skip
        filled = tmp_path / ".ocaserve-demo-second" / "store"
        assert (filled / "film.mp4").read_bytes() == blob(300_000, seed=1)
        assert (tmp_path / "second" / "mine").exists()
        followed = run_as_told(told.replace("-o film.mp4", f"-o {tmp_path}/film"), "follow")
        assert followed.startswith(f"{tmp_path}/film: 300000 bytes in ")


def test_all_that_is_told_is_there(tmp_path: Path) -> None:
    """No page that the demo names, in what it says or logs, is answered with 404."""
    content = tmp_path / "content"
    content.mkdir()
    (content / "film.mp4").write_bytes(b"kept")
    command = [sys.executable, "-m", "ocaserve", "demo", "--directory", str(tmp_path)]
    command += ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    log = tmp_path / "said"
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            eventually(lambda: "Ctrl-C" in log.read_text(), "it says what to try")
            urls = re.findall(r"http://[\d.]+:\d+[^\s\"']*", log.read_text())
            assert len(urls) >= 5
            for url in urls:
                eventually(lambda url=url: is_there(url), f"{url} is answered")  # type: ignore[misc]
        finally:
            process.terminate()
