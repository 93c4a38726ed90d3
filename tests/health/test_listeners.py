"""Addresses on which the appliance does not listen."""

from __future__ import annotations

from ocaserve.health import Level, Timing
from ocaserve.health.listeners import ListenersComponent


def test_listens() -> None:
    """The summary names the addresses."""
    component = ListenersComponent(Timing(0, 1), lambda: ["[::]:80", "0.0.0.0:80"], dict)
    assert component.observe(0).summary == "listens on [::]:80, 0.0.0.0:80"
    assert component.observe(0).problems == ()


def test_one_is_missing() -> None:
    """A warning with its reason: clients have the others."""
    why = "cannot listen on 192.0.2.1:80: Cannot assign requested address"
    component = ListenersComponent(Timing(0, 1), lambda: ["[::]:80"], lambda: {"192.0.2.1:80": why})
    (problem,) = component.observe(0).problems
    assert (problem.level, problem.reason) == (Level.WARNING, why)
