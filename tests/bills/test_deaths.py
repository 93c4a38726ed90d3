"""Whoever dies between two writes leaves all of a record or nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.bills import DECEMBER, chain


def test_a_record_and_its_samples_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bills.mortal", str(tmp_path / "ledger")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    left = json.loads(done.stdout)
    assert len(left) > 15, "each statement is a place to die at"
    for count, held, sampled, chained in left:
        assert held == sampled == chained, (count, held, sampled, chained)
    records = [*chain("oca-1", 4, DECEMBER - 2 * 300), *chain("oca-2", 3)]
    assert left[-1][:2] == [7, sum(each.total for each in records)]
    assert [0, 0, 0, 0] in left
