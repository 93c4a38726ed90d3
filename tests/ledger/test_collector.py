"""Each record is counted once, whenever the collector dies; what is kept is bounded."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from ocaserve.ledger import archive as archive_module
from ocaserve.ledger.archive import Archive
from ocaserve.ledger.book import HOUR_S, PERIOD_S, Book, Period
from ocaserve.ledger.collector import Collector
from ocaserve.ledger.places import ledger_folder, spool_folder
from ocaserve.ledger.summary import (
    Highest,
    NetworkSum,
    Summary,
    as_csv,
    count_highest,
    percentile_95,
)
from ocaserve.settings.ledger import LedgerSettings
from tests.support.ledgers import NET, NOON, OTHER_NET, SETTINGS, Ledger


def test_counts(ledger: Ledger) -> None:
    """Open periods are in the sums."""
    ledger.tell(net=5, v6=7)
    ledger.collector.collect()
    ledger.tell(net=1)
    ledger.collector.collect()
    assert ledger.sums() == {NET: 6, OTHER_NET: 7}
    assert ledger.sums("192.0.2.77") == {NET: 6}
    assert ledger.sums("2001::/16") == {OTHER_NET: 7}


def test_under_other_names(ledger: Ledger) -> None:
    """Networks of one name are one: their sums, and their rates period by period."""
    for _ in range(2):
        ledger.tell(net=300, v6=75, other=10)
        ledger.collector.collect()
        ledger.now += PERIOD_S + 20
    ledger.collector.collect()
    found = ledger.collector.summarize(
        NOON, ledger.now, top=9, rename=lambda name: "all" if "/" in name else name
    )
    rows = [(row.network, row.bytes, row.peak_bits_per_s) for row in found.networks]
    assert rows == [("all", 750, 10), ("other", 20, 0)]
    assert found.total.bytes == 770


def test_killed_before_and_after_each_commit(ledger: Ledger) -> None:
    """A thousand steps in any order: what is told is what is counted."""
    chance = random.Random(7)
    told = 0
    for _ in range(1000):
        told += ledger.take_any_step(chance)
    ledger.die()
    ledger.collector.collect()
    assert ledger.sums() == {NET: told}


def test_killed_between_archive_and_commit(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A period that was archived twice is in the sums once."""
    ledger.tell(net=5)
    ledger.collector.collect()
    ledger.collector.commit()
    ledger.now += 2 * PERIOD_S

    def die(_: Book) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ledger.collector._archive, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            ledger.collector.collect()
    ledger.die()
    ledger.tell(net=1)
    ledger.collector.collect()
    assert ledger.sums() == {NET: 6}


def test_spools_go_when_they_are_committed(ledger: Ledger) -> None:
    """Not before."""
    ledger.tell(net=5)
    ledger.writer.close()
    ledger.collector.collect()  # the first one commits at once
    assert list(spool_folder(ledger.folder).iterdir()) == []
    ledger.tell(net=5)
    ledger.writer.close()
    ledger.collector.collect()
    assert len(list(spool_folder(ledger.folder).iterdir())) == 1
    ledger.collector.commit()
    assert list(spool_folder(ledger.folder).iterdir()) == []


def test_two_collectors(ledger: Ledger) -> None:
    """The younger waits until the elder is gone, and then knows what that knew."""
    ledger.tell(net=5)
    ledger.collector.collect()
    younger = ledger.start()
    younger.collect()
    assert not younger.is_open
    ledger.collector.close()
    younger.collect()
    assert younger.is_open
    assert younger.summarize(NOON, NOON + 1, top=1).total.bytes == 5
    younger.close()


def test_periods_and_hours(ledger: Ledger) -> None:
    """A period is closed ten seconds after its end, an hour with its last period or later."""
    archive = Archive(ledger.folder, SETTINGS)
    for _ in range(14):
        ledger.tell(net=300)
        ledger.collector.collect()
        ledger.now += PERIOD_S
    ledger.collector.collect()
    assert archive.starts(PERIOD_S) == [NOON + n * PERIOD_S for n in range(13)]
    (hour,) = archive.periods(HOUR_S, 0, ledger.now)
    assert (hour.start, hour.sent) == (NOON, {NET: 3600})
    ledger.now += 2 * HOUR_S
    archive.close_hours(int(ledger.now))
    assert archive.starts(HOUR_S) == [NOON, NOON + HOUR_S]


def test_percentile(ledger: Ledger) -> None:
    """Of twenty periods the highest is left out; those without traffic count."""
    for n in range(20):
        ledger.tell(net=PERIOD_S * (n + 1), **({"v6": PERIOD_S} if n == 3 else {}))
        ledger.collector.collect()
        ledger.now += PERIOD_S
    ledger.now += 20
    ledger.collector.collect()
    found = ledger.collector.summarize(NOON, NOON + 20 * PERIOD_S, top=10)
    rates = {
        row.network: (row.p95_bits_per_s, row.peak_bits_per_s)
        for row in (*found.networks, found.total)
    }
    assert found.periods == 20
    assert rates == {NET: (152, 160), OTHER_NET: (0, 8), "total": (152, 160)}


def test_old_periods_give_way_to_hours(tmp_path: Path) -> None:
    """Sums go on from the hours; nothing is in them twice."""
    settings = LedgerSettings(five_minutes_days=1, hours_days=10)
    archive = Archive(tmp_path, settings)
    for n in range(36 * 12):
        archive.close(Period(NOON + n * PERIOD_S, PERIOD_S, {NET: 1}))
    now = NOON + 36 * HOUR_S
    archive.remove_old(now)
    assert archive.starts(PERIOD_S)[0] == now - 86_400 - PERIOD_S
    found = Collector(tmp_path, settings, "oca-1").summarize(NOON, now, top=1)
    assert found.total.bytes in (36 * 12, 36 * 12 - 11)  # the hour that is cut is told in part
    archive.remove_old(NOON + 20 * 86_400)
    assert archive.starts(PERIOD_S) == archive.starts(HOUR_S) == []


def test_room_is_bounded(tmp_path: Path) -> None:
    """The oldest go first."""
    settings = LedgerSettings(size_bytes=1 << 20)
    archive = Archive(tmp_path, settings)
    sent = {f"10.{n >> 8}.{n & 255}.0/24": 1 << 40 for n in range(10_000)}
    for n in range(12):
        archive.close(Period(NOON + n * PERIOD_S, PERIOD_S, dict(sent)))
    archive.remove_old(NOON + HOUR_S)
    kept = archive.starts(PERIOD_S)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.ledger")) <= 1 << 20
    assert kept == sorted(kept)
    assert kept[-1] == NOON + 11 * PERIOD_S


def test_flood_of_networks(tmp_path: Path) -> None:
    """Places go to who gets bytes, whenever they come; the sum is exact, and `other` is counted."""
    ledger = Ledger(tmp_path, LedgerSettings(networks=10))
    for n in range(1_000):
        ledger.writer.append(int(ledger.now), {f"10.{n >> 8}.{n & 255}.0/24": 1})
        if n in (0, 500, 999):
            ledger.writer.append(int(ledger.now), {NET: 100})
    ledger.collector.collect()
    found = ledger.sums()
    assert found[NET] == 300
    assert len(found) <= 10 + 10 // 4 + 2
    assert sum(found.values()) == 1_300
    totals = ledger.collector.totals
    assert (totals.bytes, totals.other) == (1_300, found["other"])
    ledger.now += PERIOD_S + 20
    ledger.collector.collect()
    (closed,) = ledger.collector._archive.periods(PERIOD_S, 0, ledger.now)  # type: ignore[union-attr]
    assert len(closed.sent) == 11
    assert (closed.sent[NET], closed.total) == (300, 1_300)
    assert ledger.collector.totals.other == closed.sent["other"] == 1_000 - 9
    ledger.writer.close()
    ledger.collector.close()


def test_flood_costs_detail_and_not_the_month(tmp_path: Path) -> None:
    """Where a flood would fill the room, all periods stay, with the networks that got most."""
    settings = LedgerSettings(size_bytes=1 << 20, five_minutes_days=1, hours_days=1)
    archive = Archive(tmp_path, settings)
    flood = {f"10.{n >> 8}.{n & 255}.0/24": 1 for n in range(20_000)}
    for n in range(12):
        archive.close(Period(NOON + n * PERIOD_S, PERIOD_S, {**flood, NET: 1_000}))
    archive.remove_old(NOON + HOUR_S)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.ledger")) <= 1 << 20
    periods = list(archive.periods(PERIOD_S, NOON, NOON + HOUR_S))
    assert len(periods) == 12
    assert {(period.sent[NET], period.total) for period in periods} == {(1_000, 21_000)}


def test_times_far_away(ledger: Ledger) -> None:
    """A span beyond what is kept costs what is kept."""
    ledger.tell(net=5)
    ledger.collector.collect()
    found = ledger.collector.summarize(0, 253_402_300_799, top=0)
    assert found.total.bytes == 5
    assert found.periods <= 2


def test_late_record(ledger: Ledger) -> None:
    """What was billed stays; a record that comes later counts in the period after."""
    ledger.tell(net=5)
    ledger.collector.collect()
    ledger.now += PERIOD_S + 20
    ledger.collector.collect()
    ledger.writer.append(NOON, {NET: 1})
    ledger.collector.collect()
    (closed,) = Archive(ledger.folder, SETTINGS).periods(PERIOD_S, 0, ledger.now)
    assert closed.total == 5
    assert ledger.sums() == {NET: 6}


@pytest.mark.parametrize("damage", [b"", b"ocaserve", b"\0" * 100], ids=["empty", "cut", "zeros"])
def test_damaged_book(ledger: Ledger, damage: bytes) -> None:
    """It is put aside; what the spools still hold is counted."""
    ledger.tell(net=5)
    ledger.collector.collect()
    ledger.collector.commit()
    (ledger.folder / "open.ledger").write_bytes(damage)
    ledger.die()
    ledger.collector.collect()
    assert ledger.sums() == {NET: 5}
    assert (ledger.folder / "open.damaged").exists()


def test_damaged_period(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Said, and left out; the others are told."""
    archive = Archive(ledger.folder, SETTINGS)
    for n in range(2):
        archive.close(Period(NOON + n * PERIOD_S, PERIOD_S, {NET: 1}))
    file = min((ledger.folder / "five_minutes").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    ledger.now += HOUR_S
    assert ledger.sums() == {NET: 1}
    assert f"{file} is damaged" in caplog.text


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([], 0), ([7], 7), (list(range(1, 21)), 19), (list(range(1, 101)), 95), ([5, 1], 5)],
    ids=["none", "one", "twenty", "hundred", "two"],
)
def test_percentile_95(samples: list[float], expected: float) -> None:
    """Also where only the highest are told, and periods without traffic are left out."""
    highest = sorted(samples)[-count_highest(len(samples)) :] if samples else []
    assert percentile_95(samples, len(samples)) == expected
    assert percentile_95(highest, len(samples)) == expected


def test_percentile_95_of_idle_periods() -> None:
    assert percentile_95([9.0] * 5, 100) == 0
    assert percentile_95([9.0] * 6, 100) == 9
    assert percentile_95([], 10**9) == 0


def test_highest_are_kept_in_bounded_memory() -> None:
    highest = Highest(10)
    for number in range(10_000):
        highest.add(number * 7919 % 10_000)
        assert len(list(highest)) <= 20
    assert sorted(highest)[-10:] == list(range(9_990, 10_000))


def test_csv() -> None:
    row = NetworkSum(network=NET, bytes=5, share=0.5, p95_bits_per_s=1, peak_bits_per_s=2)
    total = NetworkSum(network="total", bytes=10, share=1.0, p95_bits_per_s=3, peak_bits_per_s=4)
    summary = Summary(
        since=NOON, until=NOON + 60, periods=0, total=total, networks=[row], networks_seen=2
    )
    assert as_csv(summary).splitlines() == [
        "since,until,network,bytes,share,p95_bits_per_s,peak_bits_per_s",
        "2023-11-14T22:00:00Z,2023-11-14T22:01:00Z,192.0.2.0/24,5,0.500000,1,2",
        "2023-11-14T22:00:00Z,2023-11-14T22:01:00Z,total,10,1.000000,3,4",
    ]


@pytest.mark.parametrize(
    ("directory", "state", "expected"),
    [
        ("/var/l", Path("/state"), "/var/l"),
        ("", Path("/state"), "/state/ledger"),
        ("", None, "/run/x/ledger"),
    ],
    ids=["set", "with-the-state", "this-run"],
)
def test_place(directory: str, state: Path | None, expected: str) -> None:
    settings = LedgerSettings(directory=directory)
    assert ledger_folder(settings, state, Path("/run/x")) == Path(expected)


def test_disk_that_is_full_for_a_while(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte is lost, and none counted twice, however often it is tried meanwhile."""
    ledger.tell(net=5)
    ledger.collector.collect()
    ledger.now += PERIOD_S + 20

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(archive_module, "write_sealed", refuse)
        for _ in range(3):
            ledger.tell(net=1)
            with pytest.raises(OSError, match="No space left"):
                ledger.collector.collect()
    ledger.collector.collect()
    assert ledger.sums() == {NET: 8}
    assert ledger.collector.totals.bytes == 8
