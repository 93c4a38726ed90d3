"""What `ledger records`, `verify` and `close` print of what an appliance answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from click.testing import CliRunner, Result

from ocaserve.cli import main
from ocaserve.ledger.records import LedgerRecord
from tests.support.ledgers import BOOK, NET, make_records


class Kept:
    """In place of a `ControlClient`: an appliance that keeps these records of one book."""

    def __init__(self, records: Sequence[LedgerRecord]) -> None:
        self._records = [msgspec.to_builtins(each) for each in records]

    def get(self, path: str) -> dict[str, Any]:
        query = {name: value for name, [value] in parse_qs(urlsplit(path).query).items()}
        after, limit = int(query.get("after", 0)), int(query["limit"])
        seqs = [each["seq"] for each in self._records]
        first, last = (seqs[0], seqs[-1]) if seqs else (0, 0)
        return {
            "appliance": "oca-1",
            "book": BOOK if seqs else "",
            "first": first,
            "last": last,
            "records": [each for each in self._records if each["seq"] > after][: min(limit, 2)],
            "books": [{"book": BOOK, "first": first, "last": last}] if seqs else [],
        }

    def post(self, _: str) -> dict[str, Any]:
        last = self._records[-1]
        return {name: last[name] for name in ("book", "seq", "start", "total")}


def run(monkeypatch: pytest.MonkeyPatch, records: Sequence[LedgerRecord], *words: str) -> Result:
    monkeypatch.setattr("ocaserve.cli.ledger_records.connect", lambda *_: Kept(records))
    return CliRunner().invoke(main, ["ledger", *words])


def test_records(monkeypatch: pytest.MonkeyPatch) -> None:
    records = make_records(3, {NET: 5_000})
    shown = run(monkeypatch, records, "records").stdout.splitlines()
    assert shown[0] == f"oca-1, book {BOOK}: records 1 to 3"
    assert shown[2].split() == ["1", "2023-11-14T22:00:00Z", "5,000", "1", records[0].digest[:16]]
    assert "no period is closed yet" in run(monkeypatch, [], "records").stdout
    assert f'"prev": "{records[0].digest}"' in run(monkeypatch, records, "records", "--json").stdout


def test_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page; what is wrong is named, with status 1."""
    records = make_records(5, {NET: 5_000})
    good = run(monkeypatch, records, "verify")
    assert (good.exit_code, good.stdout) == (
        0, f"book {BOOK}: records 1 to 5, 25,000 bytes: the chain holds\n",
    )  # fmt: skip
    assert run(monkeypatch, records[2:], "verify").exit_code == 0
    hole = run(monkeypatch, [*records[:2], *records[3:]], "verify")
    assert hole.exit_code == 1
    assert f"book {BOOK}: record 4: seq is 4; after record 2 it must be 3" in hole.stdout
    changed = msgspec.structs.replace(records[3], networks={NET: 5_001}, total=5_001)
    forged = run(monkeypatch, [*records[:3], changed, records[4]], "verify")
    assert (forged.exit_code, "record 4: digest is" in forged.stdout) == (1, True)
    assert run(monkeypatch, [], "verify").stdout == "no period is closed yet\n"


def test_close(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(monkeypatch, make_records(2, {NET: 5_000}), "close").stdout
    assert shown == f"closed: record 2 of book {BOOK}, from 2023-11-14T22:05:00Z on, 5,000 bytes\n"
