"""What the new version is started with."""

from __future__ import annotations

import pytest

from ocaserve.supervisor.upgrade import new_arguments, new_environment


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["serve", "/srv"], ["serve", "/srv"], id="none_of_its_own"),
        pytest.param(["serve", "--ready-fd", "5", "/srv"], ["serve", "/srv"], id="two_words"),
        pytest.param(["serve", "--ready-fd=5", "/srv"], ["serve", "/srv"], id="one_word"),
        pytest.param(["serve", "/srv", "--ready-fd", "5"], ["serve", "/srv"], id="at_the_end"),
    ],
)
def test_arguments(arguments: list[str], expected: list[str]) -> None:
    """The descriptor that was told once is not the new version's."""
    assert new_arguments(arguments, 9) == [*expected, "--ready-fd", "9"]


def test_environment() -> None:
    """The new version is another process, and has to feed the watchdog none the less."""
    ours = {"HOME": "/root", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert new_environment(ours, {"OCASERVE_LISTEN": "{}"}) == {
        "HOME": "/root",
        "WATCHDOG_USEC": "1000000",
        "OCASERVE_LISTEN": "{}",
    }
