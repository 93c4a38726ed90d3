"""The page that follows, in Chromium: the film goes on while its appliance is killed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from ocaserve.demo.film import make_film
from tests.support.browser import Browser, browser
from tests.support.mortal import Mortal
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.slow, pytest.mark.timeout(120)]

SECONDS = 20
STATE = """
const video = document.querySelector('video');
arguments[0]({
  at: video.currentTime, isOver: video.ended, stalls: follower.stalls,
  said: document.getElementById('said').textContent,
  from: Array.from(follower.seconds, (each) => each ? each.name : ''),
  shown: document.querySelectorAll('#seconds i').length,
});
"""


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """The film, and the page."""
    folder = tmp_path / "content"
    folder.mkdir()
    make_film(folder / "film.mp4", SECONDS, lambda _: None)
    for name in ("follow.html", "follow.js"):
        page = resources.files("ocaserve.demo") / name
        (folder / name).write_bytes(page.read_bytes())
    return folder


def played(chromium: Browser, second: float) -> bool:
    return float(chromium.run(STATE)["at"]) >= second


def test_film_goes_on(content: Path, tmp_path: Path) -> None:
    """From the next one, with no stall; and from the first one again when it is back."""
    quiet = '[serve]\naccess_log = "off"\n'
    with (
        Mortal.serving(content, tmp_path / "1", quiet) as first,
        Mortal.serving(content, tmp_path / "2", quiet) as second,
        browser(tmp_path / "profile") as chromium,
    ):
        one, two = (f"127.0.0.1:{each.port}" for each in (first, second))
        sources = "&".join(f"from=http://{each}/film.mp4" for each in (one, two))
        chromium.open(f"http://{one}/follow.html?{sources}&ahead=6")
        eventually(lambda: played(chromium, 1), "it plays")
        chromium.run("document.querySelector('video').playbackRate = 2; arguments[0]()")
        first.kill()
        eventually(lambda: two in chromium.run(STATE)["from"], "the next one is asked")
        # What it shows meanwhile is in its buffer: the film is not to be over before.
        chromium.run("document.querySelector('video').pause(); arguments[0]()")
        first.start()
        chromium.run("follower.servers[0].until = 0; arguments[0]()")  # its time is over
        chromium.run("document.querySelector('video').play(); arguments[0]()")
        eventually(lambda: chromium.run(STATE)["isOver"], "it ends", timeout_s=60)
        state = chromium.run(STATE)
    assert state["shown"] == SECONDS
    assert set(state["from"]) == {one, two}
    assert (state["from"][0], state["from"][-1]) == (one, one), state
    assert state["stalls"] == 0, state
