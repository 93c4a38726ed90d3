"""The dashboard in a real browser: it shows, it acts, it comes back, and nothing breaks into it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.browser import Browser, browser
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

TOKEN = "operate-" + "0123456789abcdef"
TOML = f"""
[appliance]
id = "<b id='injected'>oca</b>"
[health]
rise_s = 3600
fall_s = 0
[control]
listen = ["127.0.0.1:0"]
[control.tokens]
operate = ["{TOKEN}"]
"""

TEXT = "const [id, done] = arguments; done(document.getElementById(id).textContent);"
COUNT = "const [what, done] = arguments; done(document.querySelectorAll(what).length);"
WIDTH = "const [done] = arguments; done(document.documentElement.scrollWidth - innerWidth);"
ENTER, TAB, ESCAPE = "\ue007", "\ue004", "\ue00c"  # in WebDriver
HIDDEN = "const [id, done] = arguments; done(document.getElementById(id).hidden);"
FOCUS = "const [done] = arguments; done(document.activeElement.id);"
LEAVE = "const [done] = arguments; document.activeElement.blur(); done(true);"
OPEN = """
const [done] = arguments;
document.getElementById('duty').click();
document.getElementById('token').value = '';
document.getElementById('token').focus();
done(true);
"""
QUESTION = """
const [done] = arguments;
const dialog = document.getElementById('dialog');
done(dialog.open ? document.getElementById('question').textContent : '');
"""
# The stream is answered as on an address that others reach, to a page without a token.
REFUSE_STREAM = """
const [done] = arguments;
const real = window.fetch;
window.streams = 0;
window.fetch = (what, how) => {
  if (!String(what).endsWith('/events')) return real(what, how);
  window.streams += 1;
  return Promise.resolve(new Response('', {status: 401}));
};
done(true);
"""
STREAMS = "const [done] = arguments; done(window.streams);"
CANCEL = "const [done] = arguments; document.getElementById('cancel').click(); done(true);"
CONFIRM = """
const [token, done] = arguments;
document.getElementById('duty').click();
document.getElementById('token').value = token;
document.getElementById('confirm').click();
done(true);
"""


@pytest.fixture(scope="module")
def daemon(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    store = tmp_path_factory.mktemp("dashboard")
    write_object(store, "a.mp4", blob(1 << 20, seed=1))
    with serve(store, toml=TOML) as running:
        yield running


@pytest.fixture(scope="module")
def page(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as window:
        window.open(f"http://{daemon.control_addresses[0]}/")
        eventually(lambda: window.run(TEXT, "state") == "serving", "it shows the state")
        yield window


def test_figures_follow_the_load(daemon: Daemon, page: Browser) -> None:
    """What was answered is shown within seconds."""
    for _ in range(5):
        fetch(daemon.address, request("/a.mp4"))
    eventually(lambda: "2xx5" in page.run(TEXT, "answers"), "the answers are counted")
    eventually(lambda: "127.0.0.0/24" in page.run(TEXT, "ledger"), "the client's network is shown")
    assert "stores" in page.run(TEXT, "health")
    assert page.run(TEXT, "serving") == "2 of 2"


def test_what_is_told_is_text(page: Browser) -> None:
    """A name that looks like markup is shown as it is written."""
    assert page.run(TEXT, "name") == "<b id='injected'>oca</b>"
    assert page.run(COUNT, "#injected") == 0


def test_drain_and_enable(daemon: Daemon, page: Browser) -> None:
    """The button asks, and does what it says; with a wrong token it says that it may not."""
    page.run(CONFIRM, "wrong-" + TOKEN)
    eventually(lambda: "Refused" in page.run(TEXT, "notice"), "the token is refused")
    page.run(CONFIRM, TOKEN)
    eventually(lambda: page.run(TEXT, "state").startswith("drain"), "it drains")
    assert "from the dashboard" in page.run(TEXT, "state")
    assert fetch(daemon.address, request("/healthz")).status == 503
    page.run(CONFIRM, TOKEN)
    eventually(lambda: page.run(TEXT, "state") == "serving", "it serves again")


def test_keyboard(daemon: Daemon, page: Browser) -> None:
    """Enter after the token confirms what was asked."""
    page.run(OPEN)
    page.press(TOKEN + ENTER)
    eventually(lambda: page.run(TEXT, "state").startswith("drain"), "it drains")
    page.run(CONFIRM, TOKEN)
    eventually(lambda: page.run(TEXT, "state") == "serving", "it serves again")


@pytest.mark.parametrize("width", [360, 1280])
def test_fits(page: Browser, tmp_path: Path, width: int) -> None:
    """On a phone and on a screen, nothing lies beyond the right edge."""
    page.resize(width, 900)
    assert page.run(WIDTH) <= 0
    assert page.screenshot().startswith(b"\x89PNG")


def test_tables_have_heads(page: Browser) -> None:
    """For who hears the page: each row and each column has a name, and each table a title."""
    assert page.run(COUNT, "tr") > 10
    assert page.run(COUNT, "th:not([scope])") == 0
    assert page.run(COUNT, "table:not([aria-labelledby])") == 0
    assert page.run(COUNT, "tr:not(:has(th))") == page.run(COUNT, "td.quiet:only-child")


def test_stores(page: Browser) -> None:
    """Each with its state and its room."""
    shown = page.run(TEXT, "stores")
    assert "pathstatefreesent" in shown
    assert re.search(r"(ok|free).* of \d", shown)


def test_keyboard_alone(daemon: Daemon, page: Browser) -> None:
    """The button is reached by Tab, Escape leaves the question, and one is where one was."""
    page.run(LEAVE)
    page.press(TAB + ENTER)
    eventually(lambda: page.run(QUESTION) == "Drain this appliance?", "it asks")
    page.press(ESCAPE)
    eventually(lambda: page.run(QUESTION) == "", "the question is gone")
    assert page.run(FOCUS) == "duty"
    assert fetch(daemon.address, request("/healthz")).status == 200


def test_times_of_a_drain(daemon: Daemon, page: Browser) -> None:
    """When it ends by itself, and when new requests are turned away: they are shown."""
    assert page.run(HIDDEN, "drain")
    until = {"reason": "new fan", "until": "2099-01-01T00:00:00Z"}
    control = daemon.control_addresses[0]
    assert call(control, "POST", "/v1/drain", until, token=TOKEN).status == 200
    eventually(lambda: "ends by itself" in page.run(TEXT, "drain"), "its end is shown")
    assert "2098" in page.run(TEXT, "drain") or "2099" in page.run(TEXT, "drain")
    assert "turns new requests away from" in page.run(TEXT, "drain")
    eventually(lambda: "draining: new fan" in page.run(TEXT, "history"), "it is among the changes")
    page.run(CONFIRM, TOKEN)
    eventually(lambda: page.run(HIDDEN, "drain"), "it is over")
    assert "lifecycle" in page.run(TEXT, "history")


def test_killed_control_process(daemon: Daemon, page: Browser) -> None:
    """The page finds its successor by itself, which knows what was; and that it serves."""
    control = daemon.control_addresses[0]
    before = call(control, "GET", "/v1/history").json["events"]
    os.kill(daemon.control(), signal.SIGKILL)
    eventually(lambda: "does not answer" in page.run(TEXT, "notice"), "the page says so")
    eventually(lambda: page.run(TEXT, "state") == "serving", "the page is back", timeout_s=30)
    eventually(lambda: page.run(TEXT, "notice") == "", "nothing is wrong any more")
    eventually(lambda: "was replaced" in page.run(TEXT, "history"), "it is among the changes")
    after = call(control, "GET", "/v1/history").json["events"]
    assert all(event in after for event in before[:8])
    news = [event["text"] for event in after if event not in before]
    assert "the control process was replaced" in news
    assert "starting" not in news


def test_one_question_at_a_time(daemon: Daemon, page: Browser) -> None:
    """A question that comes up waits for the open one, and is asked once if it is declined."""
    page.open(f"http://{daemon.control_addresses[0]}/")
    eventually(lambda: page.run(TEXT, "state") == "serving", "it shows the state")
    page.run(REFUSE_STREAM)
    page.run(OPEN)
    os.kill(daemon.control(), signal.SIGKILL)
    eventually(lambda: page.run(STREAMS), "the stream is refused", timeout_s=30)
    assert page.run(QUESTION) == "Drain this appliance?"
    page.run(CANCEL)
    eventually(lambda: "to look" in page.run(QUESTION), "the next question is asked")
    page.run(CANCEL)
    eventually(lambda: "without a token" in page.run(TEXT, "notice"), "the page gives in")
    assert page.run(STREAMS) == 1
