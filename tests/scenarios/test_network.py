"""`./dev network`, as a new user meets it: the film goes on, whatever is broken."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser, browser
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.slow, pytest.mark.timeout(180)]

NETWORK = Path(__file__).parent.parent.parent / "deploy" / "network" / "network.py"
PARTS = 6  # ports of one network
APPLIANCES = {"127.0.0.11": "east-1", "127.0.0.12": "east-2", "127.0.0.21": "west-1"}
APPLIANCES["127.0.0.22"] = "west-2"

FILM = """
const [done] = arguments;
const inside = document.getElementById('film').contentWindow;
const video = inside.document.querySelector('video');
done({
  at: video ? video.currentTime : 0,
  from: inside.follower ? Array.from(inside.follower.seconds, (each) => each ? each.name : '') : [],
});
"""
PRESS = """
const [label, done] = arguments;
document.querySelector(`button[aria-label="${label}"]`).click();
done(true);
"""
FASTER = """
const [done] = arguments;
document.getElementById('film').contentWindow.document.querySelector('video').playbackRate = 3;
done(true);
"""
TEXT = "const [id, done] = arguments; done(document.getElementById(id).innerText);"


def free_ports() -> int:
    """The first of some in a row that nobody has now."""
    while True:
        first = random.randrange(20_000, 32_000)
        try:
            for port in range(first, first + PARTS):
                with socket.socket() as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        return first


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Browser]:
    """The network's page, when every part has begun."""
    port = free_ports()
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, NETWORK, "--port", str(port), "--seconds", "60"],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        eventually(lambda: "The network runs" in log.read_text(), "it runs", timeout_s=60)
        with browser(tmp_path / "profile") as window:
            window.open(f"http://127.0.0.1:{port}/")
            yield window
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert process.returncode == 0, log.read_text()


def sources(page: Browser) -> list[str]:
    """Whom each second came from, so far."""
    return [APPLIANCES[each.partition(":")[0]] for each in page.run(FILM)["from"] if each]


def plays_beyond(page: Browser, second: float) -> bool:
    return float(page.run(FILM)["at"]) > second


def test_the_film_goes_on(page: Browser) -> None:
    """Its appliance is killed; then the site's routes are withdrawn; then nobody steers."""
    eventually(lambda: plays_beyond(page, 1), "it plays", timeout_s=60)
    page.run(FASTER)
    first = sources(page)[0]
    page.run(PRESS, f"kill {first}")
    eventually(lambda: sources(page)[-1] != first, "another one is asked")
    eventually(lambda: f"{first}: silent" in page.run(TEXT, "events"), "it is missed")
    seconds = len(sources(page))
    eventually(lambda: plays_beyond(page, seconds - 1), "what it gave is played", timeout_s=30)
    page.run(PRESS, "withdraw east")
    eventually(lambda: sources(page)[-1].startswith("west"), "the other site is asked")
    page.run(PRESS, "kill fleet")
    eventually(lambda: "control plane does not answer" in page.run(TEXT, "events"), "it is dead")
    seconds = len(sources(page))
    eventually(lambda: plays_beyond(page, seconds - 1), "it plays without", timeout_s=30)
