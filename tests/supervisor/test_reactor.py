"""What the supervisor waits for, and in which order it acts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from ocaserve.supervisor.defects import Defects
from ocaserve.supervisor.reactor import Reactor


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Three pipes, each with a byte in it."""
    made = [os.pipe() for _ in range(3)]
    for _, writing in made:
        os.write(writing, b"x")
    yield made
    for ends in made:
        for descriptor in ends:
            os.close(descriptor)


def test_times_come_in_order() -> None:
    """Those of one time, in the order in which they were asked for."""
    reactor = Reactor()
    done: list[str] = []
    for name, seconds in (("late", 0.02), ("first", 0.0), ("second", 0.0), ("soon", 0.01)):
        reactor.after(seconds, partial(done.append, name))
    while len(done) < 4:
        reactor.turn()
    assert done == ["first", "second", "soon", "late"]


def test_again_and_again() -> None:
    """Until nobody turns any more."""
    reactor = Reactor()
    ticks: list[int] = []
    reactor.every(0.001, lambda: ticks.append(1))
    while len(ticks) < 3:
        reactor.turn()


def test_descriptors(pipes: list[tuple[int, int]]) -> None:
    """One turn serves all that are readable; those let go of are not watched."""
    reactor = Reactor()
    heard: list[int] = []
    for place, (reading, _) in enumerate(pipes):
        reactor.watch(reading, partial(heard.append, place))
    reactor.unwatch(pipes[1][0])
    reactor.unwatch(pipes[1][0])
    reactor.turn()
    assert sorted(heard) == [0, 2]


def test_descriptor_that_becomes_another_in_the_turn(pipes: list[tuple[int, int]]) -> None:
    """What was readable has been let go of; what has its number now was not readable."""
    reactor = Reactor()
    heard: list[str] = []
    numbers = [reading for reading, _ in pipes]

    def let_go_of_the_others() -> None:
        heard.append("one")
        for number in numbers:
            reactor.unwatch(number)
            reactor.watch(number, lambda: heard.append("another"))

    for number in numbers:
        reactor.watch(number, partial(let_go_of_the_others))
    reactor.turn()
    assert heard == ["one"]


def test_signals() -> None:
    """They are acted on in a turn, in the order in which they came."""
    reactor = Reactor()
    heard: list[signal.Signals] = []
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    reactor.hear({number: partial(heard.append, number) for number in numbers})
    for number in (signal.SIGUSR2, signal.SIGUSR1):
        os.kill(os.getpid(), number)
    assert heard == []
    reactor.turn()
    assert heard == [signal.SIGUSR2, signal.SIGUSR1]
    assert set(reactor.signals) == set(numbers)
    reactor.abandon()
    for number in numbers:
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, before[number])


# -- actions that fail ---------------------------------------------------------------------------


def fail() -> None:
    raise ValueError("a defect")


def test_action_that_fails(pipes: list[tuple[int, int]], caplog: pytest.LogCaptureFixture) -> None:
    """All others are called, times go on, and it is told once, but counted each time."""
    defects = Defects()
    reactor = Reactor(defects)
    heard: list[str] = []
    reactor.watch(pipes[0][0], fail)
    reactor.watch(pipes[1][0], partial(heard.append, "descriptor"))
    reactor.every(0.0, fail)
    reactor.after(0.0, partial(heard.append, "time"))
    for _ in range(12):
        reactor.turn()
    assert {"descriptor", "time"} == set(heard)
    assert defects.count >= 12
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 1
    assert len(caplog.records) == 2, "and at the tenth time"


def test_descriptor_whose_action_fails(pipes: list[tuple[int, int]]) -> None:
    """It is left alone for a while, or it would be readable again in every turn."""
    defects = Defects()
    reactor = Reactor(defects)
    reactor.watch(pipes[0][0], fail)
    for _ in range(5):
        reactor.after(0.0, lambda: None)
        reactor.turn()
    assert defects.count == 1
    reactor.unwatch(pipes[0][0])


def test_signal_whose_action_fails() -> None:
    """Those that came with it are acted on."""
    reactor = Reactor()
    heard: list[int] = []
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    reactor.hear({signal.SIGUSR1: fail, signal.SIGUSR2: partial(heard.append, 2)})
    for number in numbers:
        os.kill(os.getpid(), number)
    reactor.turn()
    reactor.abandon()
    for number in numbers:
        signal.signal(number, before[number])
    assert heard == [2]


def test_signal_of_somebody_else() -> None:
    """A library has a handler for it: those that came with it are acted on."""
    reactor = Reactor()
    heard: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGUSR1, signal.SIGPROF)}
    reactor.hear({signal.SIGUSR1: partial(heard.append, 1)})
    signal.signal(signal.SIGPROF, lambda *_: None)
    for number in (signal.SIGPROF, signal.SIGUSR1):
        os.kill(os.getpid(), number)
    reactor.turn()
    reactor.abandon()
    for number, handler in before.items():
        signal.signal(number, handler)
    assert heard == [1]
