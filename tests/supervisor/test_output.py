"""What a program says becomes lines of the log, and is always taken."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator

import pytest

from ocaserve.logs.bounding import BURST, Bound
from ocaserve.supervisor.output import Output
from ocaserve.supervisor.reactor import Reactor


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def child(reactor: Reactor) -> Iterator[Callable[[str], None]]:
    """Forks a program that says this, and listens until it is done."""
    pids = []

    def run(text: str) -> None:
        output = Output(reactor, "exabgp")
        pid = os.fork()
        if not pid:
            output.adopt()
            os.execv("/usr/bin/printf", ["printf", text])
        pids.append(pid)
        output.hear()
        deadline = time.monotonic() + 10
        while output._is_watched and time.monotonic() < deadline:
            reactor.after(0.5, bool)
            reactor.turn()
        assert not output._is_watched, "its end is noticed"

    yield run
    for pid in pids:
        os.waitpid(pid, 0)


def test_lines(child: Callable[[str], None], said: Callable[[], list[str]]) -> None:
    """Each by itself, the last one without its end too."""
    child("one\\ntwo\\n\\nthree")
    assert said() == ["exabgp: one", "exabgp: two", "exabgp: three"]


def test_much_is_taken(child: Callable[[str], None], said: Callable[[], list[str]]) -> None:
    """More than a pipe holds, in a line without end."""
    child("%0100000d")
    assert "".join(line.removeprefix("exabgp: ") for line in said()) == "0" * 100_000
    assert len(said()) > 1


def test_bound_is_its_own(child: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
    """A program says more than one place of our source; not without end."""
    caplog.set_level(logging.INFO)
    child("line\\n" * 1_000)
    bound = Bound(lambda: 0.0)
    assert BURST < sum(bound.admits(record) for record in caplog.records) == 200
