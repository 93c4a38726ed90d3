"""The bench of queues measures what it says, small."""

from __future__ import annotations

from pathlib import Path

from benchmarks.queue import ours
from benchmarks.queue.__main__ import _render
from ocaserve.queue import open_queues


async def test_ours(tmp_path: Path) -> None:
    """What was pushed is popped and acked, and nothing is left."""
    queues = open_queues(f"sqlite://{tmp_path}/queue.db")
    assert await ours.push(queues, 70, 32) > 0
    assert await ours.pop(queues, 70, 32) > 0
    assert await ours.wake(queues, 5) > 0
    assert 0 <= await ours.idle(queues, 0.2) < 1
    sizes = await queues.sizes("bench")
    assert sizes.ready + sizes.held + sizes.delayed + sizes.buried == 0
    await queues.close()


def test_page() -> None:
    """Medians and ratios of what was measured; what was not is left out."""
    figures = {
        "Valkey, pop and ack, batch 1, /s": [900.0, 1_000.0, 1_100.0],
        "SAQ, dequeue and finish, /s": [500.0, 500.0, 500.0],
    }
    page = _render(3, 1_000, figures)
    assert "| Valkey, pop and ack, batch 1, /s | 1,000 [900 to 1,100] |" in page
    assert "| ours on Valkey, batch 1, ÷ SAQ | ≥ 1 | 2.00 |" in page
    assert "BullMQ |" not in page
