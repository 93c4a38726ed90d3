"""The page of bills in a real browser: the month's curve, what is missing, closing a month."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fleet.test_billing import PARTIES, TOKEN, running_with
from tests.scenarios.test_fleet_dashboard import (
    CONFIRM,
    COUNT,
    DIALOG,
    HIDDEN_WORDS,
    TEXT,
    WIDTH,
)
from tests.support.bills import NOVEMBER, chain
from tests.support.browser import Browser, browser
from tests.support.fleet import FleetProcess
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

CLICK = """
const [label, done] = arguments;
[...document.querySelectorAll('button')]
  .find((each) => each.getAttribute('aria-label') === label).click();
done(true);
"""
REASON = """
const [reason, done] = arguments;
document.getElementById('reason').value = reason;
done(true);
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    """October, without one record, and an hour of November."""
    records = chain("oca-1", 31 * 288 + 12, NOVEMBER - 31 * 86_400)
    folder = tmp_path_factory.mktemp("fleet")
    with running_with(folder, records, PARTIES) as running:
        yield running


@pytest.fixture(scope="module")
def page(fleet: FleetProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as window:
        window.open(f"http://{fleet.operators}/bills")
        eventually(lambda: "missing" in window.run(TEXT, "state"), "it shows the state")
        yield window


def test_a_month_is_looked_at_and_closed(page: Browser) -> None:
    eventually(lambda: "2026-10" in page.run(TEXT, "months"), "months are shown")
    page.run(CLICK, "Show: 2026-10")
    eventually(lambda: "7 to 7" in page.run(TEXT, "holes"), "what is missing is shown")
    page.run(CLICK, "Show: alpha")
    eventually(lambda: "alpha, 2026-10" in page.run(TEXT, "curve-of"), "its curve is shown")
    assert page.run(COUNT, "#curve line.mark") == 1
    assert "as of now, not signed" in page.run(TEXT, "bill")
    page.run(CLICK, "Close: 2026-10")
    eventually(lambda: page.run(DIALOG), "it asks")
    page.run(CONFIRM, TOKEN)
    eventually(lambda: "without 7 to 7" in page.run(TEXT, "fault"), "it is refused with the hole")
    page.run(REASON, "a disk was lost")
    page.run(CONFIRM, TOKEN)
    eventually(lambda: "signed 20" in page.run(TEXT, "bill"), "it is closed")
    assert "a disk was lost" in page.run(TEXT, "bill")
    assert "closed incomplete" in page.run(TEXT, "months")


@pytest.mark.parametrize("width", [360, 1280])
def test_fits(page: Browser, width: int) -> None:
    page.emulate_width(width)
    assert page.run(WIDTH) <= 0
    assert page.run(HIDDEN_WORDS) == []
