"""Closed periods become records: each once, for good, whoever is killed and whatever is full."""

from __future__ import annotations

import errno
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from ocaserve.ledger import record_files
from ocaserve.ledger.archive import Archive
from ocaserve.ledger.book import PERIOD_S
from ocaserve.ledger.collector import Collector, EarlyCloseError
from ocaserve.ledger.handover import Watermark, choose_untold
from ocaserve.ledger.places import record_folder
from ocaserve.ledger.record_files import RecordFiles
from ocaserve.ledger.records import LedgerRecord, verify_chain
from ocaserve.ledger.set_clock import WallWatch
from ocaserve.settings.ledger import LedgerSettings
from tests.support.ledgers import (
    BOOK,
    NET,
    NOON,
    OTHER_NET,
    SETTINGS,
    Ledger,
    keep_records,
    make_records,
)


def books_of(ledger: Ledger) -> list[list[LedgerRecord]]:
    """All records that may be fetched, of each book in turn."""
    files = RecordFiles(record_folder(ledger.folder), SETTINGS)
    return [files.read(book.name, book.seqs, 1 << 30) for book in files.books()]


def records_of(ledger: Ledger) -> list[LedgerRecord]:
    """Where there is one book; each was verified."""
    (records,) = books_of(ledger) or [[]]
    verify_chain(records)
    return records


def let_pass(ledger: Ledger, periods: int = 1) -> None:
    ledger.now += periods * PERIOD_S
    ledger.collector.collect()


def test_periods_become_records(ledger: Ledger) -> None:
    """Those without traffic too, so that time has no holes."""
    ledger.collector.collect()
    ledger.tell(net=5, v6=7)
    let_pass(ledger)
    let_pass(ledger, 2)
    ledger.tell(net=1)
    let_pass(ledger, 2)
    records = records_of(ledger)
    assert [(each.seq, each.start, each.networks) for each in records] == [
        (1, NOON, {NET: 5, OTHER_NET: 7}),
        (2, NOON + 300, {}),
        (3, NOON + 600, {}),
        (4, NOON + 900, {NET: 1}),
    ]
    assert {each.appliance for each in records} == {"oca-1"}
    assert ledger.collector.totals[3:] == (4, 4)
    assert Archive(ledger.folder, SETTINGS).starts(PERIOD_S) == [NOON, NOON + 900]


def test_off_for_hours(ledger: Ledger) -> None:
    """The time is filled in; workers that went on meanwhile count where they were."""
    ledger.collector.collect()
    ledger.tell(net=5)
    ledger.now += 2 * PERIOD_S
    ledger.tell(net=6)
    ledger.die()
    ledger.now += 10 * PERIOD_S
    ledger.collector.collect()
    records = records_of(ledger)
    assert [each.total for each in records] == [5, 0, 6, *[0] * 8]
    ledger.now += 300 * PERIOD_S  # more than is told at once
    ledger.collector.collect()
    ledger.collector.collect()
    assert len(records_of(ledger)) == 311


def test_off_for_longer_than_records_are_kept(ledger: Ledger) -> None:
    """Another book begins, rather than a year of nothing."""
    ledger.collector.collect()
    let_pass(ledger, 3)
    ledger.die()
    ledger.now += SETTINGS.records_days * 86_400
    ledger.collector.collect()
    ledger.tell(net=5)
    let_pass(ledger, 2)
    first, second = books_of(ledger)
    assert [len(first), len(second)] == [2, 1]
    assert (second[0].seq, second[0].total, second[0].prev) == (1, 5, "")
    assert second[0].start == NOON + 3 * PERIOD_S + SETTINGS.records_days * 86_400


def test_killed_at_any_step(ledger: Ledger) -> None:
    """A record that could be seen once is never another one, and no byte is missing or twice."""
    chance = random.Random(11)
    told = 0
    seen: list[LedgerRecord] = []
    for _ in range(600):
        told += ledger.take_any_step(chance)
        now_seen = records_of(ledger)
        assert now_seen[: len(seen)] == seen
        seen = now_seen
    assert len(seen) > 10
    ledger.collector.close_early()
    assert sum(each.total for each in records_of(ledger)) == told


@pytest.mark.parametrize("step", ["archive", "commit", "keep"])
def test_killed_between(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Before the book is written the period is closed again; after it the record stands."""
    ledger.tell(net=5)
    ledger.collector.collect()
    ledger.now += PERIOD_S + 20

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "keep":
            patched.setattr(record_files, "write_sealed", die)
        else:
            method = {"archive": "close", "commit": "commit"}[step]
            patched.setattr(ledger.collector._archive, method, die)
        with pytest.raises(KeyboardInterrupt):
            ledger.collector.collect()
    ledger.die()
    ledger.writer.append(NOON, {NET: 1})
    ledger.collector.collect()
    assert [each.total for each in records_of(ledger)] == [5 if step == "keep" else 6]
    assert ledger.sums() == {NET: 6}


def test_disk_that_is_full(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records wait in the book, and become files when there is room."""
    ledger.tell(net=5)
    ledger.collector.collect()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(record_files, "write_sealed", refuse)
        for _ in range(3):
            ledger.now += PERIOD_S
            ledger.tell(net=1)
            with suppress(OSError):  # it is tried again after ten seconds, not each second
                ledger.collector.collect()
        assert records_of(ledger) == []
        ledger.die()
    ledger.now += PERIOD_S
    ledger.collector.collect()
    assert [each.total for each in records_of(ledger)] == [5, 1, 1]


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, None], ids=["empty", "zeros", "gone"])
def test_damaged_book(
    ledger: Ledger, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Another book begins, and what the spools still have of closed periods is not told twice."""
    ledger.tell(net=5)
    ledger.collector.collect()
    let_pass(ledger, 2)
    ledger.tell(net=7)
    ledger.collector.collect()
    ledger.collector.commit()
    file = ledger.folder / "open.ledger"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    ledger.die()
    let_pass(ledger, 2)
    first, second = books_of(ledger)
    verify_chain(first)
    verify_chain(second)
    assert [each.total for each in first] == [5]
    assert [each.total for each in second] == [7]
    assert second[0].start == NOON + 2 * PERIOD_S
    assert f"book {second[0].book} begins, of oca-1" in caplog.text


def test_another_id(ledger: Ledger) -> None:
    """Records of one book are of one appliance."""
    ledger.collector.collect()
    let_pass(ledger, 2)
    ledger.collector.close()
    settings, told = ledger.settings, lambda: ledger.now
    ledger.collector = Collector(ledger.folder, settings, "oca-2", told, told)
    let_pass(ledger, 2)
    first, second = books_of(ledger)
    assert [(each.appliance, each.seq) for each in first] == [("oca-1", 1)]
    assert [(each.appliance, each.seq) for each in second] == [
        ("oca-2", 1), ("oca-2", 2),
    ]  # fmt: skip
    assert second[0].start == first[-1].end


def test_older_copy(ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Put back in place of a later one, it begins another book, and tells nothing twice."""
    ledger.collector.collect()
    ledger.tell(net=5)
    let_pass(ledger, 2)
    ledger.collector.commit()
    shutil.copytree(ledger.folder, tmp_path / "copy")
    ledger.tell(net=7)  # told by what comes after the copy was made
    let_pass(ledger, 2)
    (name, records) = records_of(ledger)[0].book, records_of(ledger)
    assert len(records) == 3
    ledger.collector.close()
    shutil.rmtree(ledger.folder)
    (tmp_path / "copy").rename(ledger.folder)
    ledger.collector = ledger.start()
    ledger.writer = ledger.new_writer("worker-1")
    ledger.writer.append(int(ledger.now) - 2 * PERIOD_S, {NET: 7})  # a spool that was in the copy
    ledger.tell(net=9)
    ledger.collector.renew(name, 1)
    ledger.collector.renew(name, 3)
    let_pass(ledger, 2)
    first, second = books_of(ledger)
    assert [each.seq for each in first] == [1]
    assert second[0].start == records[-1].end
    assert [each.total for each in second] == [0, 9]
    assert f"an older copy: of book {name} the fleet has record 3" in caplog.text
    ledger.collector.renew(name, 9)
    let_pass(ledger)
    assert len(books_of(ledger)) == 2, "it has left that book already"


def test_closed_early(ledger: Ledger) -> None:
    """What is sent in the rest of the period counts in the next; time goes on without a hole."""
    ledger.collector.collect()
    ledger.now += 100
    ledger.tell(net=5)
    record = ledger.collector.close_early()
    assert (record.start, record.total) == (NOON, 5)
    assert records_of(ledger) == [record]
    ledger.now += 100
    ledger.tell(net=7)
    with pytest.raises(EarlyCloseError, match="is closed until 22:05:00Z already"):
        ledger.collector.close_early()
    let_pass(ledger, 2)
    assert [(each.start, each.total) for each in records_of(ledger)] == [
        (NOON, 5), (NOON + 300, 7),
    ]  # fmt: skip


def test_clock_that_is_wrong_for_a_while(tmp_path: Path) -> None:
    """Nothing is closed that has not been; what was sent then is not lost."""
    ledger = Ledger(tmp_path)
    steady = [0.0]
    ledger.collector = Collector(tmp_path, SETTINGS, "oca-1", lambda: ledger.now, lambda: steady[0])

    def collect(seconds: float) -> None:
        steady[0] += seconds
        ledger.now += seconds
        ledger.collector.collect()

    collect(0)
    ledger.now += 86_400
    ledger.tell(net=5)
    collect(60)
    ledger.now -= 86_400
    collect(60)
    assert records_of(ledger) == []
    collect(700)
    assert [each.start for each in records_of(ledger)] == [NOON, NOON + 300]
    collect(86_400)
    assert sum(each.total for each in records_of(ledger)) == 5
    ledger.writer.close()
    ledger.collector.close()


def test_wall_watch() -> None:
    watch = WallWatch()
    assert watch.believes(1e9, 5.0)
    assert watch.believes(1e9 + 300, 306.0)
    assert not watch.believes(1e9 + 4_000, 307.0)
    assert not watch.believes(1e9 + 4_500, 806.0)
    assert watch.believes(1e9 + 4_600, 907.0)


# -- what is kept --------------------------------------------------------------------------------


def test_kept_for_so_long(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path, LedgerSettings(records_days=1))
    keep_records(files, make_records(290, {NET: 5}))
    assert files.remove_old() == 288
    assert [(book.name, book.seqs[0], book.seqs[-1]) for book in files.books()] == [(BOOK, 3, 290)]
    assert files.end == NOON + 290 * PERIOD_S


def test_room_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest go first, and that is said; the newest stays."""
    files = RecordFiles(tmp_path, LedgerSettings(records_bytes=1 << 20))
    keep_records(
        files, make_records(12, {f"10.{n >> 8}.{n & 255}.0/24": 1 << 40 for n in range(10_000)})
    )
    left = files.remove_old()
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.ledger")) <= 1 << 20
    (book,) = files.books()
    assert book.seqs == list(range(13 - left, 13))
    assert f"{12 - left} records are gone before their time" in caplog.text


def test_damaged_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is a hole, which is said; the others are there."""
    files = RecordFiles(tmp_path, SETTINGS)
    keep_records(files, make_records(3, {NET: 5}))
    (file,) = tmp_path.rglob("*2.ledger")
    file.write_bytes(file.read_bytes()[:-1])
    assert [each.seq for each in files.read(BOOK, [1, 2, 3], 1 << 20)] == [1, 3]
    assert "is put aside, and record 2 is missing" in caplog.text
    assert files.books()[0].seqs == [1, 3]
    assert files.read("no such book", [1], 1 << 20) == []


def test_answers_are_bounded(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path, SETTINGS)
    keep_records(files, make_records(5, {NET: 5}))
    assert [each.seq for each in files.read(BOOK, range(1, 6), 1)] == [1]
    assert [each.seq for each in files.read(BOOK, range(1, 6), 700)] == [1, 2]


def test_untold() -> None:
    """What is new, then what is missing and still kept, the oldest first."""
    kept = [3, 4, 5, 7, 8, 9]
    mark = Watermark(book=BOOK, seq=7, missing=[(1, 3), (5, 6)])
    assert choose_untold(kept, mark) == [8, 9, 3, 5]
    assert choose_untold(kept, Watermark(book=BOOK)) == kept
    assert choose_untold(kept, Watermark(book=BOOK, seq=9)) == []
    assert choose_untold([], mark) == []
