"""However many ask at once, one makes its step in a turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter

from ocaserve.serving.turns import Turns


class Step:
    """Notes its name and the turn in which it is made."""

    def __init__(self, name: str, made: list[tuple[str, int]], clock: list[int]) -> None:
        self.pauses = 0
        self._name, self._made, self._clock = name, made, clock

    def step(self) -> None:
        self._made.append((self._name, self._clock[0]))

    def pause(self) -> None:
        self.pauses += 1


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
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    turns, made, clock = Turns(loop), list[tuple[str, int]](), [0]

    class Failing(Step):
        def step(self) -> None:
            raise ZeroDivisionError

    turns.take(Step("a", made, clock))
    turns.take(Failing("b", made, clock))
    turns.take(Step("c", made, clock))
    run_turns(loop, clock, 3)
    assert [name for name, _ in made] == ["a", "c"]
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
    loop.close()
