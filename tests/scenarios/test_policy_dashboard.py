"""The page of policies in a real browser: it shows releases and faults, and takes steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser import Browser, browser
from tests.support.fleet import FleetProcess, report
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

TOKEN = "a-token-for-those-who-operate"
TOML = f'report_ttl_s = 3600\ntokens = {{ operate = ["{TOKEN}"] }}\n' + "".join(
    f'[[fleet.appliance]]\nid = "{name}"\nurls = ["http://{name}"]\n' for name in ("a", "b")
)
NAME = "<b id='injected'>ann</b>"
NOT_A = "def admit(client, server):\n    return server.id != 'a'\n"
FAILING = (
    "def weight(client, server, object):\n    return 1 if client.hour < 0 else fail('planned')\n"
)

TEXT = "const [id, done] = arguments; done(document.getElementById(id).innerText);"
COUNT = "const [what, done] = arguments; done(document.querySelectorAll(what).length);"
WIDTH = "const [done] = arguments; done(document.documentElement.scrollWidth - innerWidth);"
CLICK = """
const [label, done] = arguments;
const found = [...document.querySelectorAll('#releases button')]
  .find((each) => each.getAttribute('aria-label') === label);
if (found) found.click();
done(Boolean(found));
"""
DIALOG = "const [done] = arguments; done(document.getElementById('dialog').open);"
CONFIRM = """
const [token, done] = arguments;
document.getElementById('token').value = token;
document.getElementById('confirm').click();
done(true);
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    with FleetProcess.running(tmp_path_factory.mktemp("fleet"), TOML) as running:
        for name in ("a", "b"):
            assert running.post("/v1/reports", report(name, {"11.0.0.0/8": (1, 0)})).status == 204
        eventually(lambda: running.servers() == {"a", "b"}, "both get clients")
        eventually(lambda: has_told_of_clients(running), "checks have decisions to look at")
        for name, text in (("no_a", NOT_A), ("failing", FAILING)):
            policies = [{"name": name, "files": {f"{name}.star": text}}]
            post(running, "/v1/policies", {"policies": policies, "by": NAME})
        post(running, "/v1/policies/1/check", {})
        post(running, "/v1/policies/1/shadow", {})
        post(running, "/v1/policies/2/check", {})
        yield running


def has_told_of_clients(running: FleetProcess) -> bool:
    answer = running.post("/v1/what-if", {"lose": {"appliances": ["a"]}})
    assert answer.status == 200, answer.body
    return bool(answer.body["clients"])


def post(running: FleetProcess, path: str, body: object) -> None:
    answer = running.post(path, body, Authorization=f"Bearer {TOKEN}")
    assert answer.status in (200, 201), answer.body


@pytest.fixture(scope="module")
def page(fleet: FleetProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as window:
        window.open(f"http://{fleet.operators}/policies")
        eventually(lambda: "0 in force" in window.run(TEXT, "state"), "it shows the state")
        yield window


def take(page: Browser, label: str) -> None:
    eventually(lambda: page.run(CLICK, label), f"{label} can be pressed")
    eventually(lambda: page.run(DIALOG), "it asks")
    page.run(CONFIRM, TOKEN)


def test_what_is_shown(fleet: FleetProcess, page: Browser) -> None:
    """Who brought what, and its text; what people say is text."""
    assert NAME in page.run(TEXT, "releases")
    assert page.run(COUNT, "#injected") == 0
    page.run(CLICK, "Show: release 2")
    eventually(lambda: "failing.star:2: planned" in page.run(TEXT, "text"), "the fault is shown")
    assert "def weight(client, server, object)" in page.run(TEXT, "text")

    def moved() -> bool:
        fleet.steer("11.1.1.1", *(f"film-{n}" for n in range(12)))
        return "a → b" in page.run(TEXT, "shadow")

    eventually(moved, "the differences are listed")


def test_released_by_clicks(fleet: FleetProcess, page: Browser) -> None:
    take(page, "Canary …: release 1")
    eventually(lambda: "release 1" in page.run(TEXT, "canary-about"), "the canary is shown")
    take(page, "Promote …: release 1")
    eventually(lambda: "1 in force" in page.run(TEXT, "state"), "it is in force")
    eventually(lambda: fleet.servers() == {"b"}, "clients go elsewhere")
    eventually(lambda: "no_a@" in page.run(TEXT, "cost"), "what it costs is shown")
    take(page, "Roll back …: release 1")
    eventually(lambda: "0 in force" in page.run(TEXT, "state"), "it is gone")
    eventually(lambda: fleet.servers() == {"a", "b"}, "and come back")


@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_fits(page: Browser, width: int) -> None:
    page.emulate_width(width)
    assert page.run(WIDTH) <= 0
