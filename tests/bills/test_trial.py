"""The trial of `make trial-bills`, as small as tells something."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bills.trial import arguments, engine, run


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("kind", "records"), [("sqlite", 6_000), ("postgresql", 1_800)])
def test_sums_are_right_to_the_byte_whoever_is_killed(
    kind: str, records: int, tmp_path: Path
) -> None:
    args = arguments(
        kind, "--records", str(records), "--periods", "600", "--parties", "40",
        "--life", str(records // 3),
    )  # fmt: skip
    with engine(kind, tmp_path) as url:
        found = run(url, args)
    assert found["faults"] == []
    assert found["records"] == records
    assert found["delivered"] > 1.15 * records
    assert found["kills"] > 2
