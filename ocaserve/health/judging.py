"""From a number and two thresholds to a level."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ocaserve.health.model import Level, Trouble


class Thresholds(NamedTuple):
    """From where on a value is a warning, an error."""

    warning: float
    error: float

    def of_high(self, value: float) -> Level:
        """Where more is worse: at a threshold counts."""
        if value >= self.error:
            return Level.ERROR
        return Level.WARNING if value >= self.warning else Level.OK

    def of_low(self, value: float) -> Level:
        """Where less is worse: below a threshold counts."""
        if value < self.error:
            return Level.ERROR
        return Level.WARNING if value < self.warning else Level.OK


def problems_of(*judged: tuple[Level, str, str]) -> Iterable[Trouble]:
    """Problems of these (level, subject, reason) that are not ok."""
    return (Trouble(*one) for one in judged if one[0])
