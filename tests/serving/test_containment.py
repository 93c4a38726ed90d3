"""What is told of defects, and how often."""

from __future__ import annotations

import logging
import ssl
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.serving.closing import CloseReason
from ocaserve.serving.containment import Containment, contained, each
from ocaserve.serving.counters import COUNTERS, Count


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A containment, and its counters."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counts = memoryview(bytearray(8 * len(COUNTERS))).cast("Q")
        self.containment = Containment(self.counts, self.clock)

    @property
    def defects(self) -> int:
        return self.counts[Count.DEFECTS]

    def meet(self, words: str = "one", times: int = 1) -> None:
        """The same defect, so many times."""
        for _ in range(times):
            self.containment.run(lambda: fail(words))


def fail(words: str) -> None:
    raise ValueError(words)


class Client:
    """Ends as it is told to, or fails in that as well."""

    def __init__(self, stage: Stage, *, can_close: bool = True) -> None:
        self.closed: list[CloseReason] = []
        self._stage = stage
        self._can_close = can_close

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)
        if not self._can_close:
            raise RuntimeError("not even this")

    def contain(self, defect: Exception, /) -> None:
        self._stage.containment.end(self, defect)

    @contained
    def hear(self, words: str) -> None:
        fail(words)


@pytest.fixture
def stage(caplog: pytest.LogCaptureFixture) -> Stage:
    caplog.set_level(logging.DEBUG)
    return Stage()


@pytest.mark.parametrize("can_close", [True, False])
def test_client_that_fails_is_ended(stage: Stage, can_close: bool) -> None:
    client = Client(stage, can_close=can_close)
    client.hear("a")
    assert client.closed == [CloseReason.INTERNAL]
    assert stage.defects == 1 + (not can_close)


def test_each_has_its_turn(stage: Stage) -> None:
    clients = [Client(stage) for _ in range(3)]
    each(
        clients,
        lambda client: fail("x") if client is clients[1] else client.close(CloseReason.ASKED),
    )
    assert [client.closed for client in clients] == [
        [CloseReason.ASKED], [CloseReason.INTERNAL], [CloseReason.ASKED],
    ]  # fmt: skip


def test_defect_that_repeats_is_told_once_a_minute(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.meet(times=1000)
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info
    stage.clock.now = 61.0
    stage.meet(times=500)
    assert caplog.messages[1:] == ["a defect, met 1000 times more: ValueError: one"]
    assert stage.defects == 1500


def test_kinds_are_bounded(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(300):
        code = compile("\n" * number + "raise ValueError", "made up", "exec")
        stage.containment.run(lambda code=code: exec(code))  # type: ignore[misc]
    assert 60 < len(caplog.records) < 70
    assert stage.defects == 300


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("x" * 100_000, id="long"),
        pytest.param("a\nocaserve[1]: all is well", id="lines"),
        pytest.param("\x1b[2J", id="control"),
        pytest.param("\udcff" * 1000, id="surrogates"),
    ],
)
def test_words_of_a_defect_keep_to_one_line(
    stage: Stage, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    stage.meet(words)
    lines = caplog.text.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert max(map(len, lines)) < 1500
    assert not any(line.startswith(("ocaserve[1]", "\x1b")) for line in lines)
    caplog.text.encode()


def test_name_that_is_not_ascii_is_no_defect(stage: Stage) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wrong = UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range")
    tell = cast(Any, stage.containment.on_unraisable)
    tell(SimpleNamespace(exc_value=wrong, object=context))
    assert stage.defects == 0
    tell(SimpleNamespace(exc_value=wrong, object=stage))
    tell(SimpleNamespace(exc_value=KeyError(1), object=context))
    assert stage.defects == 2


def test_what_the_loop_meets_is_counted(stage: Stage) -> None:
    for context in ({"exception": KeyError(1)}, {"message": "never retrieved"}):
        stage.containment.on_loop_exception(cast(Any, None), context)
    assert stage.defects == 2
