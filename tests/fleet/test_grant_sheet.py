"""What workers share of what they give: each writes its own, and all heed the bounds."""

from __future__ import annotations

from array import array
from math import inf

import pytest

from ocaserve.fleet.grant_sheet import STALE_S, GrantSheet, bound_of


def test_workers_give_each_its_share() -> None:
    """And the control process adds up what they gave."""
    sheet = GrantSheet(2)
    one, two = sheet.row(0), sheet.row(1)
    for number in range(2):
        sheet.bound(number, array("d", [bound_of(0.0, 10.0), bound_of(0.0, inf)]), 100.0)
    one.give(0, 5.0)
    assert not one.is_full(0, 100.0)
    one.give(0, 5.0)
    two.give(0, 3.0)
    two.give(1, 1e12)
    assert one.is_full(0, 100.0)
    assert not two.is_full(0, 100.0)
    assert not two.is_full(1, 100.0)
    assert [list(sheet.given(number, 2)) for number in range(2)] == [[10.0, 0.0], [3.0, 1e12]]
    sheet.bound(0, array("d", [bound_of(10.0, 0.5)]), 101.0)
    assert not one.is_full(0, 101.0)


def test_bounds_of_a_control_process_that_is_gone_hold_nobody_back() -> None:
    sheet = GrantSheet(1)
    row = sheet.row(0)
    sheet.bound(0, array("d", [bound_of(0.0, 1.0)]), 100.0)
    row.give(0, 2.0)
    assert row.is_full(0, 100.0 + STALE_S / 2)
    assert not row.is_full(0, 100.0 + STALE_S)


def test_next_worker_of_a_row_begins_anew() -> None:
    sheet = GrantSheet(1)
    row = sheet.row(0)
    row.give(7, 2.0)
    sheet.bound(0, array("d", [1.0] * 8), 100.0)
    again = sheet.row(0)
    assert not again.is_full(7, 100.0)
    assert not any(sheet.given(0, 8))


def test_networks_are_granted_once_a_minute() -> None:
    """At each appliance, by whichever worker."""
    sheet = GrantSheet(2)
    one, two = sheet.row(0), sheet.row(1)
    asked = [
        (one, b"1", "a", 7), (two, b"1", "a", 7), (two, b"1", "b", 7), (one, b"1", "b", 7),
        (one, b"2", "a", 7), (two, b"1", "a", 8),
    ]  # fmt: skip
    first = [row.is_first(*rest) for row, *rest in asked]  # type: ignore[arg-type]
    assert first == [True, False, True, False, True, True]


def test_rows_end() -> None:
    with pytest.raises(AssertionError):
        GrantSheet(1).row(1)
