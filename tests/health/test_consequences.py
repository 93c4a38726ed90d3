"""What an error means: overload lowers capacity, and only a documented list turns clients away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocaserve.health.certificates import CertificatesComponent
from ocaserve.health.consequences import (
    CONSEQUENCES,
    DYING,
    EXPIRED,
    NO_STORE,
    NONE_SERVE,
    Effect,
    describe_consequences,
    effect_of,
    find_effect,
)
from ocaserve.health.host_components import HOST_COMPONENTS
from ocaserve.health.model import Health, Judgement, Level, Timing
from ocaserve.health.monitor import Monitor
from ocaserve.health.store_looks import StoreFacts
from ocaserve.health.stores import StoresComponent
from ocaserve.health.workers import WorkerFacts, WorkersComponent
from ocaserve.settings.health import HealthSettings

MANUAL = Path(__file__).parent.parent.parent / "docs" / "manual.md"
SETTINGS = HealthSettings()
AT_ONCE = Timing(0, 0)
OUT, FULL = Effect.TURNS_AWAY, Effect.TAKES_NO_MORE


@pytest.mark.parametrize(
    ("component", "errors", "effect"),
    [
        ("cpu", ("busy",), FULL),
        ("cpu", ("steal",), FULL),
        ("memory", ("available",), FULL),
        ("network", ("eth0 use",), FULL),
        ("disk", ("sda wait",), FULL),
        ("descriptors", ("process 7",), FULL),
        ("workers", ("worker 0",), FULL),
        ("workers", (NONE_SERVE,), OUT),
        ("workers", (DYING, "worker 0"), OUT),
        ("stores", ("/disk1",), None),
        ("stores", ("/disk1", NO_STORE), OUT),
        ("stores", ("/disk1 room",), None),
        ("certificates", ("a.pem",), None),
        ("certificates", ("a.pem", EXPIRED), OUT),
        ("clock", ("clock",), None),
        ("routes", ("192.0.2.1",), None),
        ("control_plane", ("contact",), None),
    ],
)
def test_effects(component: str, errors: tuple[str, ...], effect: Effect | None) -> None:
    """Each error has its effect; the same as a warning has none."""
    assert effect_of(Judgement(component, Level.ERROR, "", 0, errors)) is effect
    assert effect_of(Judgement(component, Level.WARNING, "", 0)) is None


def test_first_is_found() -> None:
    busy = Judgement("cpu", Level.ERROR, "", 0, ("busy",))
    dead = Judgement("stores", Level.ERROR, "", 0, (NO_STORE,))
    health = Health.of([busy, dead])
    assert find_effect(health, OUT) is dead
    assert find_effect(health, FULL) is busy
    assert find_effect(Health.of([]), OUT) is None


def test_every_resource_has_a_row() -> None:
    """What the machine can run out of says so by its capacity."""
    assert {row.component for row in CONSEQUENCES} >= HOST_COMPONENTS.keys()


def test_manual_has_the_list() -> None:
    assert describe_consequences() in MANUAL.read_text()


class Disk:
    """A watch that has found these facts."""

    def __init__(self, **facts: Any) -> None:
        self.path = "/disk"
        self.found = StoreFacts(self.path, **facts)

    def facts(self, _: float) -> StoreFacts:
        return self.found


BAD, SLOW, GOOD = {"failure": "I/O error"}, {"waited_s": 60.0}, {"free": 5, "total": 9}


@pytest.mark.parametrize(
    ("disks", "is_out"),
    [([BAD, GOOD], False), ([BAD, SLOW], True), ([BAD], True), ([GOOD], False), ([], False)],
)
def test_one_disk_of_many(disks: list[dict[str, Any]], is_out: bool) -> None:
    """It costs its own content; without any there is nothing to serve."""
    stores = [Disk(**facts) for facts in disks]
    component = StoresComponent(AT_ONCE, SETTINGS, stores, dict)  # type: ignore[arg-type]
    monitor = Monitor(1.0, lambda: None)
    monitor.add(component)
    health = monitor.look_around()
    assert (find_effect(health, OUT) is not None) == is_out
    assert (health.level is Level.ERROR) == any(facts is not GOOD for facts in disks)


def test_expired_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the control address turns no client away, one of the data plane does."""
    monkeypatch.setattr("ocaserve.health.certificates.expiry_of", lambda _: 100.0)
    file = str(tmp_path / "a.pem")
    Path(file).write_text("")
    for shown, effect in (((), None), ((file,), OUT)):
        monitor = Monitor(1.0, lambda: None)
        component = CertificatesComponent(AT_ONCE, SETTINGS, [file], lambda: 200.0, shown)
        monitor.add(component)
        (finding,) = monitor.look_around().findings
        assert (finding.level, effect_of(finding)) == (Level.ERROR, effect)
        assert component.expiries == {file: 100.0}


def test_late_loops() -> None:
    facts = WorkerFacts(wanted=2, serving=2, deaths=0, lags={"worker 0": 60.0})
    monitor = Monitor(1.0, lambda: None)
    monitor.add(WorkersComponent(AT_ONCE, SETTINGS, lambda: facts))
    assert find_effect(monitor.look_around(), FULL) is not None


def test_successor_knows_what_is_wrong() -> None:
    """What was an error before this process counts until it is looked at."""
    first = Monitor(1.0, lambda: None)
    bad = StoresComponent(AT_ONCE, SETTINGS, [Disk(**BAD)], dict)  # type: ignore[list-item]
    first.add(bad)
    first.look_around()
    ((_, judge),) = first._judged
    assert judge.raised is not None
    second = Monitor(1.0, lambda: None, before={"stores": judge.raised})
    second.add(bad)
    assert not second.has_looked
    assert find_effect(second.health, OUT) is not None
