"""What work in a thread costs: what is to take no more than a part of a core rests by it, however
long the thread had to wait on a busy machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Made = TypeVar("_Made")


def with_cost(work: Callable[[], _Made]) -> tuple[_Made, float]:
    """What it makes, and the seconds of CPU that this takes the thread. Raises what it raises."""
    begun = time.thread_time()
    made = work()
    return made, time.thread_time() - begun
