"""A trial of the ledger: a month of a whole fleet, doubled, reordered, a day late, and whoever
takes it killed between two writes again and again.

    python -m tests.bills.trial --records 10000000 sqlite
    python -m tests.bills.trial --records 1000000 postgresql

What must come out is known otherwise: the records are made from numbers of parties and networks,
and these are added up as they are made, each once, without a prefix being looked at.
"""

from __future__ import annotations

import argparse
import heapq
import json
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import IO, Any

import msgspec
import numpy as np

from ocaserve.bills.bill import BillKey
from ocaserve.bills.from_settings import open_vault
from ocaserve.bills.month_end import close_month, find_bills
from ocaserve.bills.months import Month
from ocaserve.bills.parties import Grouping, Party
from ocaserve.bills.samples import read_curves
from ocaserve.bills.taking import TakenAs, take
from ocaserve.bills.vault import MonthTables, Vault
from ocaserve.ledger.records import ChainEnd, LedgerRecord, end_of, next_record
from tests.bills.mortal import Mortal
from tests.support.bills import book_of
from tests.support.postgresql import PostgresqlServer

_MONTH = Month.parse("2026-11")
_NOW = _MONTH.end + 86_000.0
_DAY = 288  # periods
_BATCH = 500
_OF_APPLIANCE = 6  # networks that one serves
_DOUBLED, _LATE = 0.2, 0.01
_HELD_BACK = 0.0001  # until the month is closed
_LIFE = 40_000  # statements, on average, until whoever takes the records is killed
_SIZE = struct.Struct(">I")


def parties_of(count: int) -> list[Party]:
    """Each with four networks; those of the last appliances are of nobody."""
    return [
        Party(id=f"p{n:04}", prefixes=(f"10.{n >> 6}.{(n & 63) << 2}.0/22",)) for n in range(count)
    ]


def network_of(number: int) -> str:
    """The numbers 4 n to 4 n + 3 are of party n."""
    return f"10.{number >> 8}.{number & 255}.0/24"


class Fleet:
    """Makes the records of all appliances, period by period, and adds up what they hold.

    expected: bytes by party and period; the last party is of nobody.
    """

    def __init__(self, appliances: int, parties: int, periods: int, seed: int) -> None:
        self.periods = periods
        self.expected = np.zeros((parties + 1, periods), dtype=np.int64)
        self.made = 0
        self._parties = parties
        self._chance = Random(seed)
        networks = (parties + 8) * 4  # a few belong to nobody
        self._served = [
            [self._chance.randrange(networks) for _ in range(_OF_APPLIANCE)]
            for _ in range(appliances)
        ]
        self._ends = [
            ChainEnd(appliance=f"oca-{n}", book=book_of(f"oca-{n}")) for n in range(appliances)
        ]

    def period(self, place: int) -> Iterator[LedgerRecord]:
        """Of all appliances."""
        start = _MONTH.start + place * 300
        draw = self._chance.random
        for number, end in enumerate(self._ends):
            sent: dict[str, int] = {}
            for network in self._served[number]:
                if draw() < 0.6:
                    count = int(draw() * 4e9)
                    sent[network_of(network)] = count
            record = next_record(end, start, sent)
            self._ends[number] = end_of(record)
            for name, count in sent.items():
                second, third = map(int, name.split(".")[1:3])
                party = min((second * 256 + third) // 4, self._parties)
                self.expected[party, place] += count
            self.made += 1
            yield record


def deliver(fleet: Fleet, chance: Random, held_back: list[LedgerRecord]) -> Iterator[LedgerRecord]:
    """All but what is held back: shuffled, some twice, some a day late."""
    due: list[tuple[int, int, LedgerRecord]] = []
    for place in range(fleet.periods):
        for record in fleet.period(place):
            if chance.random() < _HELD_BACK:
                held_back.append(record)
                continue
            delay = _DAY if chance.random() < _LATE else chance.randrange(4)
            heapq.heappush(due, (place + delay, chance.getrandbits(40), record))
            if chance.random() < _DOUBLED:
                again = place + chance.choice((0, 1, 5, _DAY))
                heapq.heappush(due, (again, chance.getrandbits(40), record))
        while due and due[0][0] <= place:
            yield heapq.heappop(due)[2]
    while due:
        yield heapq.heappop(due)[2]


# -- who takes them, and is killed ---------------------------------------------------------------


def be_taker(url: str, parties: int, last: int) -> None:
    """Take what comes on standard input, and say so; dies before a statement."""
    vault: Vault = open_vault(url)
    mortal = Mortal(vault, last)
    grouping = Grouping(parties_of(parties))
    decode = msgspec.json.Decoder(list[LedgerRecord]).decode
    out, busy = sys.stdout.buffer, 0.0
    while head := sys.stdin.buffer.read(_SIZE.size):
        data = sys.stdin.buffer.read(_SIZE.unpack(head)[0])
        began = time.process_time()
        taken = take(mortal, grouping, decode(data), {}, _NOW)
        busy += time.process_time() - began
        assert not taken.complaints, taken.complaints[:3]
        out.write(json.dumps({"new": taken.counts[TakenAs.NEW], "busy": busy}).encode() + b"\n")
        out.flush()
        busy = 0.0
    vault.close()


class Taker:
    """A process that takes, and its next one when it was killed."""

    def __init__(self, url: str, parties: int, chance: Random, life: int) -> None:
        self._words = [sys.executable, "-m", "tests.bills.trial", "--child", url, str(parties)]
        self._chance = chance
        self._life = life
        self.kills = 0
        self.new = 0
        self.busy = 0.0
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        last = self._chance.randrange(1, 2 * self._life)
        return subprocess.Popen(
            [*self._words, str(last)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def bring(self, records: Sequence[LedgerRecord]) -> None:
        """Until it says that they are held."""
        data = msgspec.json.encode(records)
        while True:
            try:
                _pipe(self._process.stdin).write(_SIZE.pack(len(data)) + data)
                _pipe(self._process.stdin).flush()
                line = _pipe(self._process.stdout).readline()
            except BrokenPipeError:
                line = b""
            if line:
                said = json.loads(line)
                self.new += said["new"]
                self.busy += said["busy"]
                return
            self._reap()
            self._process = self._start()

    def _reap(self) -> None:
        status = self._process.wait(30)
        assert status == -signal.SIGKILL, f"it ended by itself: {status}"
        self.kills += 1
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # what was not taken is written once more
                _pipe(pipe).close()

    def end(self) -> None:
        _pipe(self._process.stdin).close()
        self._process.wait(60)
        _pipe(self._process.stdout).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


# -- the trial -----------------------------------------------------------------------------------


def run(url: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns what was found; `faults` is empty where all is as it must be."""
    chance = Random(args.seed)
    appliances = max(1, round(args.records / args.periods))
    fleet = Fleet(appliances, args.parties, args.periods, args.seed)
    held_back: list[LedgerRecord] = []
    taker = Taker(url, args.parties, chance, args.life)
    began, delivered = time.monotonic(), 0
    batch: list[LedgerRecord] = []
    for record in deliver(fleet, chance, held_back):
        batch.append(record)
        if len(batch) == _BATCH:
            taker.bring(batch)
            delivered += len(batch)
            batch = []
            if args.verbose and delivered % (_BATCH * 400) == 0:
                rate = delivered / (time.monotonic() - began)
                print(f"{delivered:,} delivered, {rate:,.0f}/s", file=sys.stderr)
    taker.bring(batch)
    delivered += len(batch)
    took = time.monotonic() - began
    taker.end()
    found = {
        "records": fleet.made, "held_back": len(held_back), "delivered": delivered,
        "kills": taker.kills, "seconds": round(took, 1),
        "delivered_per_s": round(delivered / took),
        "taken_per_cpu_s": round(delivered / taker.busy),
    }  # fmt: skip
    return {**found, **check(url, fleet, held_back)}


def check(url: str, fleet: Fleet, held_back: list[LedgerRecord]) -> dict[str, Any]:
    """The month as it is, its end, and what comes after it."""
    vault = open_vault(url)
    parties = len(fleet.expected) - 1
    faults: list[str] = []
    late = _add_up(held_back, fleet)
    expected = fleet.expected - late
    with vault.reading(_MONTH) as tables:
        assert tables is not None
        faults += _compare_curves(tables, expected)
    began = time.monotonic()
    bills = find_bills(vault, _MONTH, _NOW)
    took = time.monotonic() - began
    faults += _compare_bills(bills, expected)
    key = BillKey("1", b"k" * 32)
    issued = close_month(vault, _MONTH, _NOW, key, accepted="held back on purpose")
    closing = time.monotonic() - began - took
    for at in range(0, len(held_back), _BATCH):
        take(vault, Grouping(parties_of(parties)), held_back[at : at + _BATCH], {}, _NOW)
    if find_bills(vault, _MONTH, _NOW) != issued:
        faults.append("lateness has changed a closed bill")
    faults += _compare_corrections(vault, late)
    vault.close()
    return {
        "bills": len(bills), "bills_s": round(took, 2), "closing_s": round(closing, 2),
        "bytes": int(fleet.expected.sum()), "faults": faults[:20],
    }  # fmt: skip


def _add_up(records: list[LedgerRecord], fleet: Fleet) -> np.ndarray[Any, Any]:
    found = np.zeros_like(fleet.expected)
    for record in records:
        place = (record.start - _MONTH.start) // 300
        for name, count in record.networks.items():
            second, third = map(int, name.split(".")[1:3])
            found[min((second * 256 + third) // 4, len(found) - 1), place] += count
    return found


def _name(number: int, count: int) -> str:
    return f"p{number:04}" if number < count - 1 else "unassigned"


def _compare_curves(tables: MonthTables, expected: np.ndarray[Any, Any]) -> Iterator[str]:
    curves = read_curves(tables, _MONTH)
    for number, row in enumerate(expected):
        name = _name(number, len(expected))
        curve = curves.get(name)
        held = np.zeros(8_640, np.int64) if curve is None else np.array(curve, np.int64)
        if not (held[: len(row)] == row).all() or held[len(row) :].any():
            yield f"{name}: {int(held.sum())} bytes, and {int(row.sum())} are due"


def _compare_bills(bills: Sequence[Any], expected: np.ndarray[Any, Any]) -> Iterator[str]:
    by_name = {each.party: each for each in bills}
    for number, row in enumerate(expected):
        bill = by_name[_name(number, len(expected))]
        whole = np.zeros(8_640, np.int64)
        whole[: len(row)] = row
        # 432 of 8,640 are left out, so the highest that stays is the 433rd.
        p95 = round(int(np.partition(whole, 8_640 - 433)[8_640 - 433]) * 8 / 300)
        if (bill.bytes, bill.p95_bits_per_s) != (int(row.sum()), p95):
            told = f"{bill.bytes} bytes, {bill.p95_bits_per_s} bit/s"
            yield f"{bill.party}: {told}, and {row.sum()}, {p95} are due"


def _compare_corrections(vault: Vault, late: np.ndarray[Any, Any]) -> Iterator[str]:
    december = _MONTH.following
    [first] = [next_record(ChainEnd(appliance="new", book=book_of("new")), december.start, {})]
    take(vault, Grouping(parties_of(len(late) - 1)), [first], {}, _NOW)
    corrected = {
        each.party: sum(one.bytes for one in each.corrections)
        for each in find_bills(vault, december, _NOW)
    }
    for number, row in enumerate(late):
        name = _name(number, len(late))
        if corrected.get(name, 0) != int(row.sum()):
            yield f"{name}: corrected by {corrected.get(name, 0)}, and {int(row.sum())} are due"


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty ledger."""
    if kind == "sqlite":
        yield f"sqlite://{folder}/ledger"
        return
    with PostgresqlServer.running(fsync=True) as server:
        yield server.url


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A trial of the fleet's ledger.")
    parser.add_argument("engine", help="sqlite or postgresql")
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--parties", type=int, default=1_000)
    parser.add_argument("--periods", type=int, default=8_640)
    parser.add_argument("--life", type=int, default=_LIFE, help="statements between two kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk that is meant")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args(words or None)


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        url, parties, last = sys.argv[2:5]
        be_taker(url, int(parties), int(last))
        return 0
    args = arguments()
    with (
        tempfile.TemporaryDirectory(dir=args.folder) as name,
        engine(args.engine, Path(name)) as url,
    ):
        found = run(url, args)
    print(json.dumps(found, indent=2))
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
