"""What is counted and logged of each response: the only place that does either.

A response is an entry in a batch. The short way adds entries, and `settle` sees to all of them
after the events of a turn, while its code is in the caches of the processor (measured: 0.6 us less
for each at 64 KiB). The long way adds one and settles at once. So both count by the same lines, and
the log has its lines in the order in which the responses ended.

The bytes that a response sends over many turns are counted while it does (`progress`): an entry
says how many of its own are counted already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ocaserve.ledger.tallies import Tallies, Tally
from ocaserve.protocol.messages import Fields, Request
from ocaserve.serving.access_log import AccessLog
from ocaserve.serving.containment import Containment
from ocaserve.serving.counters import HISTOGRAM_PLACES, Count
from ocaserve.serving.histograms import BUCKETS, Histogram, observe
from ocaserve.serving.log_lines import Formatter, format_combined, format_plain
from ocaserve.serving.object_tally import ObjectTally
from ocaserve.serving.source import Source
from ocaserve.serving.wall_clock import Clock

_COPIED = int(Count.BYTES_COPIED)
_REQUESTS = int(Count.REQUESTS)
_SUCCESSES = int(Count.RESPONSES_2XX)
_RESPONSES = (
    0, 0, int(Count.RESPONSES_2XX), int(Count.RESPONSES_3XX),
    int(Count.RESPONSES_4XX), int(Count.RESPONSES_5XX),
)  # fmt: skip
_AT_ONCE = HISTOGRAM_PLACES[Histogram.AT_ONCE_US]
_AT_ONCE_SUM = _AT_ONCE + BUCKETS
_HELD = HISTOGRAM_PLACES[Histogram.HELD_US]
_FIRST_BYTE = HISTOGRAM_PLACES[Histogram.FIRST_BYTE_US]
_SIZE = HISTOGRAM_PLACES[Histogram.RESPONSE_BYTES]


class Particulars(NamedTuple):
    """Of a response that is not plain, or was not sent in one call.

    request: None where none could be made of what was `received`. note: why it was refused or cut.
    tallied: bytes that the tally has. from_file: bytes that were counted as those of a file.
    first_byte_s: from the head to the first byte; None: all went in one turn.
    """

    request: Request | None
    received: bytes
    note: str
    tallied: int
    from_file: int
    first_byte_s: float | None


Entry = tuple[
    bytes, Tally, Source | None, bytes, bytes, Fields, bytes | None, int, int, bool, float,
    Particulars | None,
]  # fmt: skip
"""Address, tally, what the bytes are of, method, target, fields, the value of Range, status, bytes
of body, whether they came from a descriptor, seconds since the head was there, particulars.

Without particulars it is a plain request that was answered with 2xx, and is counted here; with them
method, target, fields and range are in the request. A named tuple would take longer to make."""


class Batch(NamedTuple):
    """`sent`: to be added to. `settle`: counts and logs what was added since. Raises nothing."""

    sent: list[Entry]
    settle: Callable[[], None]


class Accounts:
    """The accounts of a worker. `counts`: its slot. log: None, where none is kept."""

    def __init__(
        self,
        counts: memoryview,
        tallies: Tallies,
        clock: Clock,
        containment: Containment,
        log: AccessLog | None,
        format_entry: Formatter,
    ) -> None:
        self.counts = counts
        self.tallies = tallies
        self.demand = ObjectTally()
        self.log = log
        self._clock = clock
        self._containment = containment
        self._format_entry = format_entry
        self._batches: dict[int, Batch] = {}
        self._settles: tuple[Callable[[], None], ...] = ()

    def batch(self, place: int) -> Batch:
        """The batch of responses whose bytes of files are counted at this place."""
        batch = self._batches.get(place)
        if batch is None:
            batch = self._batches[place] = self._make_batch(place)
            self._settles = (*self._settles, batch.settle)
        return batch

    def settle(self) -> None:
        """Count and log all that was added to any batch."""
        for settle in self._settles:
            settle()

    def _make_batch(self, place: int) -> Batch:  # noqa: C901 - one function
        """One function with all in reach: see `express` for why."""
        counts, clock, log, containment = self.counts, self._clock, self.log, self._containment
        format_entry, log_particular = self._format_entry, self._log_particular
        is_combined = format_entry is format_combined
        sent: list[Entry] = []
        touched = self.demand.touched

        def settle() -> None:
            if not sent:
                return
            file_bytes = copied_bytes = all_micros = plain = 0
            for entry in sent:
                (
                    address, tally, source, method, target, fields,
                    value, status, count, is_of_file, elapsed, particulars,
                ) = entry  # fmt: skip
                try:
                    counts[_SIZE + count.bit_length()] += 1  # their sum is that of bytes by path
                    micros = int(elapsed * 1e6)
                    if particulars is not None:
                        _count_particular(counts, tally, status, count, micros, particulars)
                        if log is not None:
                            line = log_particular(address, status, count, elapsed, particulars)
                            log.write(line)
                        continue
                    plain += 1
                    if is_of_file:
                        file_bytes += count
                    else:
                        copied_bytes += count
                    tally.sent += count
                    if source is not None:
                        counts[source.store.bytes_place] += count
                        if not source.sent:  # as `ObjectTally.note` does
                            touched.append(source)
                        source.sent += count
                    all_micros += micros
                    counts[_AT_ONCE + micros.bit_length()] += 1
                    if log is None:
                        continue
                    if is_combined:
                        line = format_plain(
                            clock.log_time, address, method, target, fields, status, count
                        )
                    else:
                        request = Request(method, target, 1, fields, value)
                        line = format_entry(
                            clock.log_time, address, request, b"", status, count, elapsed, ""
                        )
                    log.write(line)
                except Exception as defect:  # noqa: BLE001 - a line is lost, and no client
                    containment.note(defect)
            sent.clear()
            counts[_REQUESTS] += plain
            counts[_SUCCESSES] += plain
            counts[_AT_ONCE_SUM] += all_micros
            counts[place] += file_bytes
            if copied_bytes:
                counts[_COPIED] += copied_bytes

        return Batch(sent, settle)

    def _log_particular(
        self, address: bytes, status: int, sent: int, elapsed: float, particulars: Particulars
    ) -> bytes:
        return self._format_entry(
            self._clock.log_time, address, particulars.request, particulars.received,
            status, sent, elapsed, particulars.note,
        )  # fmt: skip


def _count_particular(
    counts: memoryview, tally: Tally, status: int, sent: int, micros: int, particulars: Particulars
) -> None:
    """Count a response of the long way, whole or cut. micros: since its head was there."""
    counts[_RESPONSES[status // 100]] += 1
    tally.sent += sent - particulars.tallied
    if sent > particulars.from_file:
        counts[_COPIED] += sent - particulars.from_file
    if particulars.first_byte_s is None:
        observe(counts, _AT_ONCE, micros)
    else:
        observe(counts, _HELD, micros)
        observe(counts, _FIRST_BYTE, max(0, int(particulars.first_byte_s * 1e6)))
