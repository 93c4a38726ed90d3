"""However many ask at once, one makes its step in a turn of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial

from ocaserve.serving.turns import TURN_S, Rounds, Turns


class Step:
    """Notes its name and the turn in which it is made."""

    def __init__(self, name: str, made: list[tuple[str, int]], clock: list[int]) -> None:
        self.pauses = 0
        self._name, self._made, self._clock = name, made, clock

    def step(self) -> None:
        self._made.append((self._name, self._clock[0]))

    def pause(self) -> None:
        self.pauses += 1

    def contain(self, defect: Exception, /) -> None:
        self._made.append((type(defect).__name__, self._clock[0]))


def run_turns(loop: asyncio.AbstractEventLoop, clock: list[int], count: int) -> None:
    """Go through turns of the loop, and count them."""
    for _ in range(count):
        clock[0] += 1
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_one_step_a_turn_in_the_order_in_which_they_came() -> None:
    loop = asyncio.new_event_loop()
    turns, made, clock = Turns(loop), list[tuple[str, int]](), [0]
    steps = {name: Step(name, made, clock) for name in "abcde"}
    for name in "abc":
        turns.take(steps[name])
    assert made == [("a", 0)]  # at once
    run_turns(loop, clock, 1)
    turns.take(steps["d"])  # behind those who wait
    run_turns(loop, clock, 4)
    assert [name for name, _ in made] == list("abcd")
    assert max(Counter(turn for _, turn in made).values()) == 1
    turns.take(steps["e"])
    assert made[-1] == ("e", 5)
    assert [step.pauses for step in steps.values()] == [0, 1, 1, 1, 0]
    loop.close()


def test_a_step_that_fails_does_not_stop_the_others() -> None:
    loop = asyncio.new_event_loop()
    turns, made, clock = Turns(loop), list[tuple[str, int]](), [0]

    class Failing(Step):
        def step(self) -> None:
            raise ZeroDivisionError

    turns.take(Step("a", made, clock))
    turns.take(Failing("b", made, clock))
    turns.take(Step("c", made, clock))
    run_turns(loop, clock, 3)
    assert [name for name, _ in made] == ["a", "ZeroDivisionError", "c"]
    loop.close()


def run_rounds(rounds: Rounds, loop: asyncio.AbstractEventLoop, steps_of: dict[str, int]) -> str:
    """Let each that is named make so many steps; returns who made them, a "/" behind each turn."""
    made = ""
    left = Counter(steps_of)

    def step(name: str) -> None:
        nonlocal made
        made += name
        left[name] -= 1
        if left[name]:
            rounds.join(partial(step, name))

    for name in steps_of:
        rounds.join(partial(step, name))
    while +left:
        loop.call_soon(loop.stop)
        loop.run_forever()
        made += "/"
    return made


def test_each_goes_on_once_in_a_turn() -> None:
    loop = asyncio.new_event_loop()
    assert run_rounds(Rounds(loop), loop, {"a": 3, "b": 1, "c": 2}) == "abc/ac/a/"
    loop.close()


def test_many_that_go_on_leave_the_loop_its_share() -> None:
    """What is due besides waits for a few of them; and all of them come to their turn."""
    loop = asyncio.new_event_loop()
    rounds, made, made_before = Rounds(loop), list[int](), list[int]()

    def step(number: int) -> None:
        made.append(number)
        time.sleep(TURN_S / 4)

    for number in range(100):
        rounds.join(partial(step, number))
    loop.call_soon(lambda: made_before.append(len(made)))
    while len(made) < 100:
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()
    assert made == list(range(100))
    assert made_before[0] <= 4


def test_a_step_that_fails_does_not_end_the_round() -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    rounds, made = Rounds(loop), list[int]()
    rounds.join(lambda: made.remove(0))
    rounds.join(partial(made.append, 1))
    for _ in range(2):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()
    assert made == [1]
