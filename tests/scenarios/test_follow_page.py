"""The page that follows, in Chromium: the film goes on while its appliance is killed."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from ocaserve.demo.film import make_film
from tests.support.browser import Browser, browser
from tests.support.fleet import FleetProcess, report
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

SLOWER = "document.querySelector('video').playbackRate = 0.25; arguments[0]();"
HAS_LEFT = "arguments[0](follower.session.failovers > 0);"
HAS_MORE = "arguments[0](follower.session.bytes > 0);"


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


class Answers:
    """Those of a control plane, where the page asks for them: a file of an appliance, as a service
    for playback would give it.
    """

    def __init__(self, fleet: FleetProcess, file: Path) -> None:
        self._fleet, self._file = fleet, file

    def give(self, client: str) -> None:
        """From now on, for a client of another network: so it is another session."""
        answer = self._fleet.steer(client, "film.mp4")
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(answer | {"qoe": f"http://{self._fleet.clients}/v1/qoe"}))
        unfinished.rename(self._file)

    def told(self) -> dict[str, int]:
        """How many sessions went how."""
        found = {}
        for line in self._fleet.get("/metrics").body.decode().splitlines():
            if line.startswith("ocaserve_fleet_sessions_total{"):
                labels, _, count = line.partition("} ")
                found[labels.split('"')[1]] = int(float(count))
        return found


def test_it_tells_how_it_went(content: Path, tmp_path: Path) -> None:
    """Once of each session: when there is another, when the page goes, when the film is there."""
    quiet = '[serve]\naccess_log = "off"\n'
    with (
        Mortal.serving(content, tmp_path / "1", quiet) as first,
        Mortal.serving(content, tmp_path / "2", quiet) as second,
        FleetProcess.running(tmp_path, named("a", first) + named("b", second)) as fleet,
        browser(tmp_path / "profile") as chromium,
    ):
        for length, name in enumerate("ab", 1):
            networks = {"11.0.0.0/8": (length, 0)}
            assert fleet.post("/v1/reports", report(name, networks)).status == 204
        eventually(lambda: fleet.servers() == {"a", "b"}, "both get clients")
        answers = Answers(fleet, content / "list.json")
        answers.give("11.1.1.1")
        page = f"http://127.0.0.1:{second.port}/follow.html?list=/list.json&again=0.2&ahead=2"
        chromium.open(page)
        eventually(lambda: played(chromium, 1), "it plays")
        chromium.run(SLOWER)  # it is not to be over before the page goes
        assert set(answers.told().values()) == {0}, "nobody has told before"
        answers.give("11.1.2.1")
        eventually(lambda: sum(answers.told().values()) == 1, "it tells of the session before")
        failed = answers.told()["failed_over"]  # on a machine that is busy a server may be too slow
        first.kill()
        eventually(lambda: chromium.run(HAS_LEFT), "a server is left")
        answers.give("11.1.3.1")
        eventually(lambda: answers.told()["failed_over"] == failed + 1, "it tells that it left one")
        eventually(lambda: chromium.run(HAS_MORE), "something came since")
        chromium.open("about:blank")
        eventually(lambda: sum(answers.told().values()) == 3, "it tells when it goes")
        before = answers.told()
        Answers(fleet, content / "other.json").give("11.1.4.1")  # of a file a change is seen late
        chromium.open(page.replace("list.json", "other.json").replace("ahead=2", "ahead=60"))
        eventually(lambda: sum(answers.told().values()) == 4, "it tells when the film is there")
        chromium.open("about:blank")
    assert before["refused"] == 0


def named(name: str, appliance: Mortal) -> str:
    url = f"http://127.0.0.1:{appliance.port}"
    return f'[[fleet.appliance]]\nid = "{name}"\nurls = ["{url}"]\n'
