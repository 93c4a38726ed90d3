"""The control plane's dashboard in a real browser: it shows, explains, foresees, drains."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.browser import Browser, browser
from tests.support.fleet import FleetProcess, report
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

TOKEN = "a-token-for-those-who-operate"
NAME = "<b id='injected'>oca</b>"
TOML = f"""report_ttl_s = 3600
turn_up = "checked"
turn_up_contact = false
tokens = {{ operate = ["{TOKEN}"] }}
[[fleet.site]]
id = "frankfurt"
[[fleet.site]]
id = "berlin"
kind = "exchange"
""" + "".join(
    f'[[fleet.appliance]]\nid = "{name}"\nsite = "{site}"\nurls = ["http://192.0.2.{number}"]\n'
    for number, (name, site) in enumerate(
        [("oca-1", "frankfurt"), (NAME, "frankfurt"), ("oca-3", "berlin")], 1
    )
)

TEXT = "const [id, done] = arguments; done(document.getElementById(id).innerText);"
COUNT = "const [what, done] = arguments; done(document.querySelectorAll(what).length);"
WIDTH = "const [done] = arguments; done(document.documentElement.scrollWidth - innerWidth);"
COLOR = "const [done] = arguments; done(getComputedStyle(document.body).backgroundColor);"
SUBMIT = """
const [form, values, done] = arguments;
for (const [id, value] of Object.entries(values)) document.getElementById(id).value = value;
document.getElementById(form).requestSubmit();
done(true);
"""
CLICK = """
const [label, done] = arguments;
[...document.querySelectorAll('#members button')]
  .find((each) => each.getAttribute('aria-label') === label).click();
done(true);
"""
DIALOG = "const [done] = arguments; done(document.getElementById('dialog').open);"
CONFIRM = """
const [token, done] = arguments;
document.getElementById('token').value = token;
document.getElementById('confirm').click();
done(true);
"""
HIDDEN_WORDS = """
const [done] = arguments;
done([...document.querySelectorAll('th, td, .figure, .label')].filter((cell) => {
  const box = cell.getBoundingClientRect();
  return box.width && cell.scrollWidth > box.width + 1;
}).map((cell) => cell.textContent));
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    """Two sites; of one client network each."""
    little = {"total_bits_per_s": 8e6, "free_bits_per_s": None}
    with FleetProcess.running(tmp_path_factory.mktemp("fleet"), TOML) as running:
        for name, networks, capacity in (
            ("oca-1", {"11.0.0.0/8": (1, 0)}, None),
            (NAME, {"11.0.0.0/8": (1, 0)}, None),
            ("oca-3", {"11.0.0.0/8": (3, 0), "12.0.0.0/8": (1, 0)}, little),
        ):
            told = report(name, networks, capacity=capacity)
            if name == "oca-1":
                told["objects"] = {"manifest": "m1", "count": 9, "here": "/wA="}
            assert running.post("/v1/reports", told).status == 204
        broken = {"state": "serving", "takes_traffic": True, "level": "error", "reasons": ["a fan"]}
        told = report(NAME, {"11.0.0.0/8": (1, 0)}, serial=2, health=broken)
        assert running.post("/v1/reports", told).status == 204
        eventually(lambda: running.servers("12.1.1.1") == {"oca-3"}, "all are known")
        for client in ("11.1.1.1", "11.2.1.1"):
            running.steer(client, "film.mp4")
        yield running


@pytest.fixture(scope="module")
def page(fleet: FleetProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as window:
        window.open(f"http://{fleet.operators}/")
        eventually(lambda: "take clients" in window.run(TEXT, "state"), "it shows the state")
        yield window


def test_what_is_shown(page: Browser) -> None:
    """Sites, appliances, and who takes whose traffic; what appliances say is text."""
    assert page.run(TEXT, "state") == "3 of 3 appliances take clients"
    shown = page.run(TEXT, "members")
    assert shown.index("berlin") < shown.index("oca-3") < shown.index("frankfurt")
    assert NAME in shown
    assert "8 of 9" in shown
    assert "hardware: a fan" in shown
    assert page.run(COUNT, "#injected") == 0
    eventually(lambda: "11.2.1.0/24" in page.run(TEXT, "taken"), "the demand is shown")
    assert "oca-1 50.0 %" in page.run(TEXT, "taken")
    assert page.run(COUNT, "th:not([scope])") == 0


def test_look_up(page: Browser) -> None:
    page.run(SUBMIT, "lookup", {"address": "12.1.1.1", "object": "film.mp4"})
    eventually(lambda: "is served by oca-3" in page.run(TEXT, "found"), "it is explained")
    page.run(SUBMIT, "lookup", {"address": "13.1.1.1"})
    eventually(lambda: "Nobody serves 13.1.1.1" in page.run(TEXT, "found"), "it is explained")
    page.run(SUBMIT, "lookup", {"address": "13.1.1"})
    eventually(lambda: "'13.1.1'" in page.run(TEXT, "found"), "what is wrong is named")


def test_what_if_by_a_click(page: Browser) -> None:
    """And by a name; what would be too much or uncovered stands first."""
    page.run(CLICK, "What if: frankfurt")
    eventually(lambda: "overloaded" in page.run(TEXT, "outlook"), "it is foreseen")
    assert "oca-1 → oca-3" in page.run(TEXT, "outlook")
    assert "Clients ask once more while it is lost" in page.run(TEXT, "outlook")
    page.run(SUBMIT, "what-if", {"lost": "12.0.0.0/8"})
    eventually(lambda: "have nobody" in page.run(TEXT, "outlook"), "it is foreseen")
    page.run(SUBMIT, "what-if", {"lost": "14.0.0.0/8"})
    eventually(lambda: "no appliance hears" in page.run(TEXT, "outlook"), "it is refused")


def test_drain_by_a_click(fleet: FleetProcess, page: Browser) -> None:
    """It says what would move, and does it; and takes it back."""
    page.run(CLICK, "Drain: frankfurt")
    eventually(lambda: page.run(DIALOG), "it asks")
    assert "oca-1 → oca-3" in page.run(TEXT, "consequence")
    assert "by the settings" in page.run(TEXT, "consequence"), "what it does not know"
    page.run(CONFIRM, "wrong-" + TOKEN)
    eventually(lambda: "Refused" in page.run(TEXT, "fault"), "a wrong token is refused")
    assert fleet.servers() == {"oca-1", NAME, "oca-3"}
    page.run(CONFIRM, TOKEN)
    eventually(lambda: fleet.taking() == {"oca-3"}, "it is drained")
    eventually(lambda: "drained here" in page.run(TEXT, "members"), "it is shown")
    eventually(lambda: "1 of 3" in page.run(TEXT, "state"), "at the top as well")
    eventually(lambda: fleet.servers() <= {"oca-3"}, "workers know it")
    fleet.steer("11.3.1.1", "film.mp4")
    eventually(lambda: "Mbit/s" in page.run(TEXT, "shed-table"), "what it costs is shown")
    page.run(CLICK, "Enable: frankfurt")
    eventually(lambda: page.run(DIALOG), "it asks")
    page.run(CONFIRM, TOKEN)
    eventually(lambda: len(fleet.taking()) == 3, "it is enabled")


@pytest.mark.parametrize("width", [360, 390, 1280, 1920])
def test_fits(page: Browser, width: int) -> None:
    """Nothing lies beyond the right edge, and no cell is wider than it is shown."""
    page.emulate_width(width)
    assert page.run(WIDTH) <= 0
    assert page.run(HIDDEN_WORDS) == []


def test_dark(page: Browser) -> None:
    page.emulate_colors("light")
    light = page.run(COLOR)
    page.emulate_colors("dark")
    assert page.run(COLOR) != light


def test_its_end_is_told(fleet: FleetProcess, page: Browser) -> None:
    """What is shown stays, and it is said that nobody answers. The last: it ends the process."""
    fleet.process.send_signal(signal.SIGKILL)
    fleet.process.wait()
    eventually(lambda: "does not answer" in page.run(TEXT, "notice"), "the page says so")
