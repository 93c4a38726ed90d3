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
from tests.support.filling import TOKEN, put
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

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
FAULT = """
const [done] = arguments;
const dialog = document.getElementById('dialog');
done(dialog.open ? document.getElementById('fault').textContent : '');
"""
EXPLAIN = """
const [address, done] = arguments;
document.getElementById('address').value = address;
document.getElementById('lookup').requestSubmit();
done(true);
"""
PLAN = """
const [token, reason, done] = arguments;
document.getElementById('plan').click();
document.getElementById('reason').value = reason;
document.getElementById('token').value = token;
document.getElementById('confirm').click();
done(true);
"""
CANCEL_WINDOW = """
const [token, done] = arguments;
document.querySelector('#windows button').click();
document.getElementById('token').value = token;
document.getElementById('confirm').click();
done(true);
"""
RELOAD = """
const [token, done] = arguments;
document.getElementById('reload').click();
document.getElementById('token').value = token;
document.getElementById('confirm').click();
done(true);
"""
BROKEN_WORDS = """
const [done] = arguments;
const cells = [...document.querySelectorAll('#ledger tr > *, th[scope=col], .figure')];
done(cells.filter((cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1;
}).map((cell) => cell.textContent));
"""
PLACES = """
const [done] = arguments;
done([...document.querySelectorAll('section')].map((card) => {
  const {left, width} = card.getBoundingClientRect();
  return [Math.round(left), Math.round(width)];
}));
"""
BUTTONS = """
const [done] = arguments;
done([...document.querySelectorAll('.actions button')].map((button) => {
  const {left, top} = button.getBoundingClientRect();
  return [Math.round(left), Math.round(top)];
}));
"""
BAD_DAY = """
const [done] = arguments;
document.getElementById('why').textContent = 'stores: /srv/oca/disk7 cannot be read: '.repeat(9);
done(true);
"""
DARK = """
const [done] = arguments;
done(getComputedStyle(document.body).backgroundColor);
"""
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
    """The button asks, and does what it says; what is refused stays to be read, and is not done."""
    page.run(CONFIRM, "wrong-" + TOKEN)
    eventually(lambda: "Refused: the token is not" in page.run(FAULT), "the token is refused")
    page.run(CANCEL)
    page.run(CONFIRM, "")
    eventually(lambda: "role operate" in page.run(FAULT), "it says which token is needed")
    assert page.run(QUESTION) == "Drain this appliance?"
    assert "ocaserve token" in page.run(TEXT, "help")
    page.run(CANCEL)
    assert page.run(TEXT, "state") == "serving"
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


@pytest.mark.parametrize("width", [360, 390, 1280, 1920])
def test_fits(page: Browser, width: int) -> None:
    """On a phone and on a screen, nothing lies beyond the right edge, and no word is broken."""
    page.emulate_width(width)
    eventually(lambda: page.run(COUNT, "#health tr") > 3, "it is filled")
    assert page.run(WIDTH) <= 0
    assert page.run(BROKEN_WORDS) == []


def test_cards_stay(page: Browser) -> None:
    """What comes and goes in a card moves no other sideways."""
    page.emulate_width(1280)
    before = page.run(PLACES)
    page.run(EXPLAIN, "192.0.2.7")
    buttons = page.run(BUTTONS)
    page.run(BAD_DAY)
    assert page.run(BUTTONS) == buttons
    eventually(lambda: "not sent here" in page.run(TEXT, "found"), "the verdict is told")
    assert "no accepted route covers" in page.run(TEXT, "found")
    assert page.run(PLACES) == before


def test_wrong_address(page: Browser) -> None:
    """It is said what is wrong with it."""
    page.run(EXPLAIN, "192.0.2.777")
    eventually(lambda: "192.0.2.777" in page.run(TEXT, "found"), "it is refused in words")


def test_dark(page: Browser) -> None:
    """The page follows what the viewer prefers."""
    page.emulate_colors("light")
    light = page.run(DARK)
    page.emulate_colors("dark")
    assert page.run(DARK) != light
    page.emulate_colors("light")


def test_chart_does_not_begin_empty(daemon: Daemon, page: Browser) -> None:
    """Whoever comes later sees what was before, with times and rates on its axes."""
    page.open(f"http://{daemon.control_addresses[0]}/")
    eventually(lambda: page.run(COUNT, "#chart .line") == 1, "a line is drawn")
    assert page.run(COUNT, "#chart text") > 5
    recent = call(daemon.control_addresses[0], "GET", "/v1/throughput").json["recent"]
    assert len(recent) > 3


def test_maintenance_windows(daemon: Daemon, page: Browser) -> None:
    """They are planned, shown and cancelled."""
    page.run(PLAN, TOKEN, "new <b>fan</b>")
    eventually(lambda: "new <b>fan</b>" in page.run(TEXT, "windows"), "it is shown")
    [window] = call(daemon.control_addresses[0], "GET", "/v1/maintenance").json["windows"]
    assert window["reason"] == "new <b>fan</b>"
    page.run(CANCEL_WINDOW, TOKEN)
    eventually(lambda: "none planned" in page.run(TEXT, "windows"), "it is gone")


def test_queues(daemon: Daemon, page: Browser) -> None:
    """Each with its messages by state."""
    control = daemon.control_addresses[0]
    message = {"messages": [{"body": 1, "delay_s": 3600}]}
    assert call(control, "POST", "/v1/queues/jobs/messages", message, token=TOKEN).status == 201
    eventually(lambda: "jobs" in page.run(TEXT, "queues"), "it is shown")
    assert "jobs0100" in page.run(TEXT, "queues")


def test_content(serve: Serve, page: Browser, tmp_path: Path) -> None:
    """How far fill is, and what waits for what; or that there is none."""
    assert "Nothing is fetched" in page.run(TEXT, "content")
    store = tmp_path / "store"
    store.mkdir()
    gone = {"tier": "origin", "url": "http://127.0.0.1:9/film/1.mp4"}
    entry = {"key": "film/1.mp4", "size": 2_000_000, "sha256": "ab" * 32, "sources": [gone]}
    with (
        serve(store, toml=f'{TOML}[fill]\nwindow = ""\n', workers=1) as filled,
        browser(tmp_path) as window,
    ):
        put(filled, {"version": "<b>v7", "objects": [entry]})
        window.open(f"http://{filled.control_addresses[0]}/")
        eventually(lambda: "unreachable" in window.run(TEXT, "content"), "it waits", timeout_s=30)
        shown = window.run(TEXT, "content")
        assert "here, of 1 in manifest <b>v700 B" in shown
        assert "missing12.0 MB" in shown
        assert window.run(COUNT, "#content b") == 0


def test_reload(daemon: Daemon, page: Browser) -> None:
    """The outcome stands among the changes."""
    page.run(RELOAD, TOKEN)
    eventually(lambda: "reload done" in page.run(TEXT, "history"), "it is done", timeout_s=30)


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
    # Looks are a second apart: a quiet appliance may be drained by the next one.
    eventually(lambda: re.search("drain(ing|ed): new fan", page.run(TEXT, "history")), "it is told")
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
