"""Each fault of the chaos trial once, for a moment; `make chaos` holds them longer, and pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.trial import hold_trial, usable_faults

pytestmark = [
    pytest.mark.scenario, pytest.mark.slow, pytest.mark.exhaustive, pytest.mark.timeout(300),
]  # fmt: skip


def test_everything_goes_wrong(tmp_path: Path) -> None:
    """No byte is wrong, every failed request is explained, and all comes back."""
    outcome = hold_trial(tmp_path, seconds=0, clients=16, seed=1, held_s=(0.2, 0.5))
    assert outcome.findings == []
    assert len(outcome.episodes) == len(usable_faults())
    assert outcome.answered > 1000
