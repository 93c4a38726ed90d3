"""The throughput of the last day, for who comes later. Decides, and does nothing.

Five minutes make one mean. A day of them is short enough for the note that a successor finds, so
the chart goes on where it was when the control process is replaced; after a restart of the whole
appliance it begins anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

STEP_S = 300
_STEPS = 288  # a day
_RECENT_S = 300  # what a page that is opened now shows of the last minutes
NOTE = "throughput"


class _Kept(Struct, frozen=True):
    """The note. `last`: the number of the newest step since the epoch; its mean stands last."""

    last: int = 0
    means: list[int | None] = []


class ThroughputSeries:
    """Means of bits per second; None where nothing was seen. `notes`: what was kept before us."""

    def __init__(self, notes: Mapping[str, Any]) -> None:
        kept = _recall(notes)
        self._last = kept.last
        self._means: deque[int | None] = deque(kept.means, maxlen=_STEPS)
        self._step = 0
        self._sum = 0.0
        self._count = 0
        self._recent: deque[int] = deque(maxlen=_RECENT_S)

    def sample(self, at: float, bits_per_s: float) -> bool:
        """Once a second. at: seconds since the epoch. Returns whether a step is over: keep it."""
        step = int(at // STEP_S)
        is_over = bool(self._count) and step != self._step
        if is_over:
            self._close(self._step, round(self._sum / self._count))
            self._sum, self._count = 0.0, 0
        self._step = step
        self._sum += bits_per_s
        self._count += 1
        self._recent.append(round(bits_per_s))
        return is_over

    def _close(self, step: int, mean: int) -> None:
        missed = step - self._last - 1
        if step <= self._last:  # the clock was set back: what was measured later stays
            return
        if self._last:
            self._means.extend([None] * min(missed, _STEPS))
        self._means.append(mean)
        self._last = step

    def kept(self) -> object:
        """A JSON value from which a successor goes on."""
        return msgspec.to_builtins(_Kept(self._last, list(self._means)))

    @property
    def start(self) -> float:
        """When the oldest step of `means` began: seconds since the epoch."""
        return float((self._last - len(self._means) + 1) * STEP_S)

    @property
    def means(self) -> list[int | None]:
        """Of whole steps, the oldest first."""
        return list(self._means)

    @property
    def recent(self) -> list[int]:
        """A value for each of the last seconds, the oldest first."""
        return list(self._recent)


def _recall(notes: Mapping[str, Any]) -> _Kept:
    try:
        return msgspec.convert(notes.get(NOTE, {}), _Kept)
    except msgspec.ValidationError:  # a version with other words: the chart begins anew
        return _Kept()
