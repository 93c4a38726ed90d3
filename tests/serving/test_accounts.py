"""What is counted and logged of a response: by the same lines for the short and the long way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.ledger.tallies import Tallies, Tally
from ocaserve.protocol.messages import Fields, Request
from ocaserve.serving.accounts import Accounts, Entry, Particulars
from ocaserve.serving.containment import Containment
from ocaserve.serving.counters import COUNTERS, HISTOGRAM_PLACES, Count
from ocaserve.serving.histograms import Histogram
from ocaserve.serving.log_lines import Formatter, format_combined, format_json

PLACE = int(Count.BYTES_SENDFILE_HOT)
STORE_PLACE = len(COUNTERS) - 1
FIELDS = Fields(host=b"a.example")


class Stage:
    """Accounts, and what they were told."""

    def __init__(self, format_entry: Formatter = format_combined) -> None:
        self.counts = memoryview(bytearray(8 * len(COUNTERS))).cast("Q")
        self.lines: list[bytes] = []
        self.log: Any = SimpleNamespace(write=self.lines.append)
        self.source: Any = SimpleNamespace(sent=0, store=SimpleNamespace(bytes_place=STORE_PLACE))
        self.tally = Tally("192.0.2.0/24")
        clock: Any = SimpleNamespace(log_time=b"now")
        log: Any = self.log
        tallies = cast(Tallies, None)
        containment = Containment(self.counts)
        self.accounts = Accounts(self.counts, tallies, clock, containment, log, format_entry)
        self.batch = self.accounts.batch(PLACE)
        self.sent = self.batch.sent

    def plain(self, *, is_of_file: bool = True) -> Entry:
        return (
            b"192.0.2.1", self.tally, self.source, b"GET", b"/o", FIELDS, None, 200, 1000,
            is_of_file, 0.001, None,
        )  # fmt: skip

    def particular(self, status: int, **said: Any) -> Entry:
        usual: dict[str, Any] = {
            "request": Request(b"GET", b"/o", 1, FIELDS, None), "received": b"", "note": "",
            "tallied": 0, "from_file": 0, "first_byte_s": None,
        }  # fmt: skip
        particulars = Particulars(**(usual | said))
        return (
            b"192.0.2.1", self.tally, None, b"", b"", FIELDS, None, status, 1000, False, 0.001,
            particulars,
        )  # fmt: skip

    def count(self, histogram: Histogram) -> int:
        place = HISTOGRAM_PLACES[histogram]
        return sum(self.counts[place : place + 48])


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_nothing_is_counted_before_it_is_settled(stage: Stage) -> None:
    stage.sent.append(stage.plain())
    assert not any(stage.counts)
    stage.accounts.settle()
    stage.accounts.settle()
    assert stage.counts[Count.REQUESTS] == stage.counts[Count.RESPONSES_2XX] == 1
    assert stage.counts[PLACE] == stage.counts[STORE_PLACE] == stage.tally.sent == 1000
    assert stage.accounts.demand.touched == [stage.source]
    assert stage.count(Histogram.AT_ONCE_US) == stage.count(Histogram.RESPONSE_BYTES) == 1


def test_bytes_from_memory_are_copied(stage: Stage) -> None:
    stage.sent.append(stage.plain(is_of_file=False))
    stage.batch.settle()
    assert stage.counts[Count.BYTES_COPIED] == stage.counts[STORE_PLACE] == 1000
    assert stage.counts[PLACE] == 0


@pytest.mark.parametrize("format_entry", [format_combined, format_json])
def test_both_ways_write_the_same_line(format_entry: Formatter) -> None:
    stage = Stage(format_entry)
    stage.sent += [stage.plain(), stage.particular(200)]
    stage.batch.settle()
    assert stage.lines[0] == stage.lines[1]


def test_response_that_spanned_turns(stage: Stage) -> None:
    """What was counted and tallied on the way is not counted again."""
    stage.sent.append(stage.particular(206, tallied=400, from_file=900, first_byte_s=0.0005))
    stage.batch.settle()
    assert stage.tally.sent == 600
    assert stage.counts[Count.BYTES_COPIED] == 100
    assert stage.counts[Count.REQUESTS] == 0, "the exchange has counted it when it came"
    assert stage.counts[Count.RESPONSES_2XX] == 1
    assert stage.count(Histogram.HELD_US) == stage.count(Histogram.FIRST_BYTE_US) == 1
    assert stage.count(Histogram.AT_ONCE_US) == 0


def test_request_that_is_none_is_logged_as_it_came(stage: Stage) -> None:
    stage.sent.append(stage.particular(400, request=None, received=b"GET  /"))
    stage.batch.settle()
    assert b'"GET  /" 400 1000' in stage.lines[0]
    assert stage.counts[Count.RESPONSES_4XX] == 1


def test_line_that_cannot_be_written_costs_no_other(stage: Stage) -> None:
    def fail(line: bytes) -> None:
        stage.lines.append(line)
        raise ZeroDivisionError

    stage.log.write = fail
    stage.sent += [stage.plain(), stage.plain()]
    stage.batch.settle()
    assert stage.counts[Count.REQUESTS] == stage.counts[Count.DEFECTS] == len(stage.lines) == 2


def test_defect_costs_no_other_response(stage: Stage) -> None:
    stage.sent.append(stage.particular(900))
    stage.sent.append(stage.plain())
    stage.batch.settle()
    stage.batch.settle()
    assert stage.counts[Count.DEFECTS] == stage.counts[Count.REQUESTS] == len(stage.lines) == 1
