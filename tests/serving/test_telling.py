"""What a worker tells the ledger last: nothing is lost, and no dead disk keeps it from ending."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from ocaserve.ledger.networks import Networks
from ocaserve.ledger.spool import read_spool
from ocaserve.ledger.tallies import Tallies, Tally
from ocaserve.serving.telling import Teller


def make_teller(folder: Path) -> tuple[Teller, Tally]:
    tallies = Tallies(Networks(24, 48), 10)
    teller = Teller(asyncio.get_running_loop(), tallies, folder, "worker-0")
    return teller, tallies.open(b"192.0.2.1")


def only_spool(folder: Path) -> Path:
    (file,) = folder.glob("*.spool")
    return file


async def test_end_beside_a_thread_that_writes(tmp_path: Path) -> None:
    """What it was given, and what came after."""
    teller, tally = make_teller(tmp_path)
    tally.sent = 5
    teller.tell()
    tally.sent = 7
    teller.tell_now()
    part = read_spool(only_spool(tmp_path), 0)
    assert [list(record.sent.values()) for record in part.records] == [[5], [7]]
    assert part.is_complete


async def test_end_beside_a_dead_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ocaserve.serving.telling._LAST_S", 0.01)
    caplog.set_level(logging.ERROR)
    teller, tally = make_teller(tmp_path)
    answers = threading.Event()
    teller._pool.submit(answers.wait, lambda _: None)
    tally.sent = 7
    teller.tell_now()
    assert caplog.messages == ["ledger: 7 bytes are not in it: the disk does not answer"]
    answers.set()
