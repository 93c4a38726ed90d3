"""A ledger whose time is told, and workers that write into it."""

from __future__ import annotations

import os
import random
from pathlib import Path

from ocaserve.ledger.book import HOUR_S, PERIOD_S
from ocaserve.ledger.collector import Collector
from ocaserve.ledger.places import spool_folder
from ocaserve.ledger.record_files import RecordFiles
from ocaserve.ledger.records import ChainEnd, LedgerRecord, end_of, next_record
from ocaserve.ledger.spool import SpoolWriter
from ocaserve.settings.ledger import LedgerSettings

NOON = 1_700_000_000 // HOUR_S * HOUR_S
SETTINGS = LedgerSettings()
BOOK = "0b0e7a52-5a3c-4c1e-9a39-0d8f5a2f1c11"
NET, OTHER_NET = "192.0.2.0/24", "2001:db8::/48"


class Ledger:
    """A ledger whose time is told, and workers that write into it."""

    def __init__(self, folder: Path, settings: LedgerSettings = SETTINGS) -> None:
        self.folder = folder
        self.settings = settings
        self.now = float(NOON)
        self.collector = self.start()
        self.writer = self.new_writer("worker-0")

    def start(self) -> Collector:
        return Collector(self.folder, self.settings, "oca-1", lambda: self.now, lambda: self.now)

    def new_writer(self, name: str) -> SpoolWriter:
        return SpoolWriter(spool_folder(self.folder), name, 200)

    def tell(self, **sent: int) -> None:
        names = {"net": NET, "v6": OTHER_NET}
        self.writer.append(int(self.now), {names.get(name, name): n for name, n in sent.items()})

    def die(self) -> None:
        """The collector is killed: only what it has committed is left."""
        lock = self.collector._lock
        if lock is not None:
            os.close(lock)
        self.collector = self.start()

    def take_any_step(self, chance: random.Random) -> int:
        """One that may come at any time; how many bytes it tells of."""
        match chance.choice(["tell", "tell", "collect", "commit", "die", "later", "rotate"]):
            case "tell":
                count = chance.randrange(1, 1000)
                self.tell(net=count)
                return count
            case "collect":
                self.collector.collect()
            case "commit":
                self.collector.commit()
            case "die":
                self.die()
            case "later":
                self.now += chance.randrange(100)
            case "rotate":
                self.writer.close()
                self.writer = self.new_writer(f"worker-{chance.random()}")
        return 0

    def sums(self, within: str | None = None) -> dict[str, int]:
        found = self.collector.summarize(NOON, self.now + 1, top=100, within=within)
        return {row.network: row.bytes for row in found.networks}


def make_records(
    count: int, networks: dict[str, int], *, appliance: str = "oca-1", book: str = BOOK
) -> list[LedgerRecord]:
    """A chain of so many, from NOON on."""
    end, records = ChainEnd(appliance=appliance, book=book), []
    for place in range(count):
        records.append(next_record(end, NOON + place * PERIOD_S, networks))
        end = end_of(records[-1])
    return records


def keep_records(files: RecordFiles, records: list[LedgerRecord]) -> None:
    for record in records:
        files.keep(record)
