"""What can still be taken, by the resource that would run out first."""

from __future__ import annotations

from typing import Any

import pytest

from ocaserve.health.capacity import Capacity, Load, estimate_capacity
from ocaserve.settings.health import HealthSettings
from tests.health.readings import GBIT, disk, interface, reading

SETTINGS = HealthSettings(cpu_warning=0.8, network_warning=0.9)


@pytest.mark.parametrize(
    ("facts", "load", "expected"),
    [
        pytest.param(
            {}, Load(GBIT, 100, 1000), Capacity(3_333_333_333, 2_333_333_333, 900, "sda"), id="disk"
        ),
        pytest.param(
            {"cpu_busy": 0.4},
            Load(GBIT, 100, 1000),
            Capacity(2_000_000_000, 1_000_000_000, 900, "cpu"),
            id="cpu",
        ),
        pytest.param(
            {"interfaces": {"eth0": interface(8 * GBIT), "eth1": interface(9 * GBIT)}},
            Load(8 * GBIT, 100, 1000),
            Capacity(18_000_000_000, 1_000_000_000, 900, "network"),
            id="network",
        ),
        pytest.param(
            {"cpu_busy": 0.9},
            Load(GBIT, 100, 1000),
            Capacity(888_888_888, 0, 900, "cpu"),
            id="over-the-limit",
        ),
        pytest.param(
            {"cpu_busy": 0.04, "disks": {"sda": disk(use=0.01)}},
            Load(GBIT, 1, 1000),
            Capacity(9_000_000_000, 8_000_000_000, 999, "network"),
            id="what-is-idle-bounds-nothing",
        ),
        pytest.param(
            {},
            Load(0, 0, 1000),
            Capacity(9_000_000_000, 8_000_000_000, 1000, "network"),
            id="nothing-is-sent",
        ),
        pytest.param(
            {"interfaces": {"eth0": interface(), "eth1": interface(speed=None)}},
            Load(0, 0, 1000),
            Capacity(None, None, 1000, "unknown"),
            id="speed-unknown",
        ),
        pytest.param(
            {"cpu_busy": None, "interfaces": {}, "disks": {"sda": disk(use=None)}},
            Load(GBIT, 0, 10),
            Capacity(None, None, 10, "unknown"),
            id="nothing-known",
        ),
        pytest.param(
            {"cpu_busy": 0.4},
            Load(GBIT, 1000, 1000),
            Capacity(2_000_000_000, 0, 0, "connections"),
            id="connections",
        ),
    ],
)
def test_capacity(facts: dict[str, Any], load: Load, expected: Capacity) -> None:
    assert estimate_capacity(reading(**facts), load, SETTINGS) == expected


def test_unfit() -> None:
    """Nothing is free while health is an error, whatever the resources say."""
    seen = estimate_capacity(reading(cpu_busy=0.4), Load(GBIT, 1, 10), SETTINGS, held_by="health")
    assert seen == Capacity(2_000_000_000, 0, 0, "health")


def test_before_the_first_reading() -> None:
    seen = estimate_capacity(None, Load(0, 1, 10), SETTINGS)
    assert seen == Capacity(None, None, 9, "unknown")
