"""How long a connection that has ended waits for its client."""

from __future__ import annotations

import pytest

from ocaserve.serving.lingering import Linger
from ocaserve.settings import Limits

LIMITS = Limits(linger_s=2.0, min_bytes_per_s=1000, stall_s=10.0)


class End:
    """The end of a socket with so many bytes on their way."""

    def __init__(self) -> None:
        self.queued = 100_000
        self.is_shut = False
        self.patience_s: float | None = None

    def queued_bytes(self) -> int:
        return self.queued

    def shut_write(self) -> None:
        self.is_shut = True

    def bound_patience(self, most_s: float) -> None:
        self.patience_s = most_s


def test_our_side_is_closed_at_once() -> None:
    end = End()
    assert Linger(end, LIMITS).begin(50.0) == 52.0
    assert end.is_shut


@pytest.mark.parametrize(("taken", "goes_on"), [(0, False), (2000, False), (2001, True)])
def test_client_must_go_on_taking(taken: int, goes_on: bool) -> None:
    end = End()
    linger = Linger(end, LIMITS)
    linger.begin(50.0)
    end.queued -= taken
    assert linger.go_on(52.0) == (54.0 if goes_on else None)
    assert end.patience_s == (None if goes_on else 20.0)


def test_each_look_is_at_what_was_taken_since() -> None:
    end = End()
    linger = Linger(end, LIMITS)
    linger.begin(50.0)
    end.queued -= 5000
    assert linger.go_on(52.0) is not None
    assert linger.go_on(54.0) is None
