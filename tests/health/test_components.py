"""What in a reading is a problem, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from ocaserve.health.contact import Contact, ContactComponent
from ocaserve.health.host_components import HOST_COMPONENTS, ClockComponent, HostComponent
from ocaserve.health.model import Level, Observation, Timing, worst_level
from ocaserve.health.store_looks import StoreFacts
from ocaserve.health.stores import HeldStore, Room, room_of, store_problems
from ocaserve.health.workers import WorkerFacts, WorkersComponent
from ocaserve.host.host_reading import HostReading, ProcessSample
from ocaserve.settings.health import HealthSettings
from tests.health.readings import GBIT, disk, interface, reading

SETTINGS = HealthSettings()
AT_ONCE = Timing(0, 0)
OK, WARNING, ERROR = Level


def level_of(observation: Observation) -> Level:
    return worst_level(problem.level for problem in observation.problems)


def said_of(observation: Observation) -> str:
    reasons = "; ".join(problem.reason for problem in observation.problems)
    return reasons or observation.summary


ROWS: list[tuple[str, dict[str, Any], Level, str]] = [
    ("cpu", {}, OK, "20 % busy"),
    ("cpu", {"cpu_busy": 0.85}, WARNING, "85 % busy"),
    ("cpu", {"cpu_busy": 0.99}, ERROR, "99 % busy"),
    ("cpu", {"cpu_steal": 0.12}, WARNING, "12 % taken by the hypervisor"),
    ("cpu", {"cpu_steal": 0.5}, ERROR, "50 % taken by the hypervisor"),
    ("cpu", {"cpu_steal": None}, OK, "20 % busy"),
    ("cpu", {"cpu_busy": None}, OK, "unknown: the system does not tell how busy it is"),
    ("memory", {}, OK, "60 % available"),
    ("memory", {"available_share": 0.05}, WARNING, "5 % available"),
    ("memory", {"available_share": 0.005}, ERROR, "0.5 % available"),
    ("memory", {"available_share": None}, OK, "unknown: the system does not tell its memory"),
    ("network", {}, OK, "1 Gbit/s sent"),
    ("network", {"interfaces": {}}, OK, "unknown: no interface is up beside loopback"),
    (
        "network",
        {"interfaces": {"eth0": interface(9.2 * GBIT), "eth1": interface()}},
        WARNING,
        "eth0 sends at 92 % of its speed",
    ),
    (
        "network",
        {"interfaces": {"eth0": interface(9.9 * GBIT)}},
        ERROR,
        "eth0 sends at 99 % of its speed",
    ),
    ("network", {"interfaces": {"eth0": interface(99 * GBIT, speed=None)}}, OK, "99 Gbit/s sent"),
    (
        "network",
        {"interfaces": {"eth0": interface(drop_share=0.0015)}},
        WARNING,
        "eth0 drops 0.15 % of its packets",
    ),
    (
        "network",
        {"interfaces": {"eth0": interface(drop_share=0.03)}},
        ERROR,
        "eth0 drops 3 % of its packets",
    ),
    ("disk", {}, OK, "2 ms a request"),
    ("disk", {"disks": {}}, OK, "unknown: the disks of the stores are not told apart here"),
    ("disk", {"disks": {"sda": disk(wait_s=None, use=None, new_errors=None)}}, OK, "idle"),
    ("disk", {"disks": {"sda": disk(0.25), "sdb": disk()}}, WARNING, "sda takes 250 ms a request"),
    ("disk", {"disks": {"sda": disk(2.5)}}, ERROR, "sda takes 2.5 s a request"),
    ("disk", {"disks": {"sda": disk(new_errors=3)}}, WARNING, "sda has 3 new errors"),
    ("descriptors", {}, OK, "1 % of the limit"),
    ("descriptors", {"processes": {}, "system_files": None}, OK, "unknown: open descriptors are"),
    (
        "descriptors",
        {"processes": {7: ProcessSample(900, 1000)}},
        WARNING,
        "process 7 has 900 of 1000 descriptors open",
    ),
    (
        "descriptors",
        {"system_files": ProcessSample(960, 1000)},
        ERROR,
        "the system has 960 of 1000 descriptors open",
    ),
]


@pytest.mark.parametrize(
    ("component", "facts", "level", "said"),
    [pytest.param(*row, id=f"{row[0]}-{row[2].label}-{row[3]}") for row in ROWS],
)
def test_host(component: str, facts: dict[str, Any], level: Level, said: str) -> None:
    """By the default thresholds."""
    seen = HOST_COMPONENTS[component](reading(**facts), SETTINGS)
    assert level_of(seen) is level
    assert said_of(seen).startswith(said)


def test_no_reading_yet() -> None:
    """Rates need two samples."""
    component = HostComponent("cpu", AT_ONCE, SETTINGS, lambda: None)
    assert component.observe(0) == Observation("unknown yet: the first reading takes two samples")


def test_a_threshold_of_no_drops() -> None:
    """Any loss counts, none does not."""
    settings = HealthSettings(drops_warning=0, drops_error=1)
    observe = HOST_COMPONENTS["network"]
    assert level_of(observe(reading(), settings)) is OK
    lossy = reading(interfaces={"eth0": interface(drop_share=1e-6)})
    assert level_of(observe(lossy, settings)) is WARNING


# -- the clock -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error_after_s", "levels"),
    [
        pytest.param(0, [OK, WARNING, WARNING, WARNING, OK, WARNING], id="never-an-error"),
        pytest.param(20, [OK, WARNING, WARNING, ERROR, OK, WARNING], id="an-error-after-20-s"),
    ],
)
def test_clock(error_after_s: float, levels: list[Level]) -> None:
    """Looked at every ten seconds: lost, and found again, and lost."""
    states = [True, False, False, False, True, False]
    readings = iter(reading(is_clock_synchronised=state) for state in states)
    settings = HealthSettings(clock_error_after_s=error_after_s)
    clock = ClockComponent(AT_ONCE, settings, lambda: next(readings))
    assert [level_of(clock.observe(10 * n)) for n in range(len(states))] == levels


@pytest.mark.parametrize("known", [None, reading(is_clock_synchronised=None)])
def test_unknown_clock(known: HostReading | None) -> None:
    seen = ClockComponent(AT_ONCE, SETTINGS, lambda: known).observe(0)
    assert (level_of(seen), seen.summary.partition(":")[0]) == (OK, "unknown")


# -- workers -------------------------------------------------------------------------------------


def workers(*seen: WorkerFacts, every_s: float = 1.0) -> list[tuple[Level, str]]:
    """What is said after each look."""
    facts = iter(seen)
    component = WorkersComponent(AT_ONCE, SETTINGS, lambda: next(facts))
    found = [component.observe(n * every_s) for n in range(len(seen))]
    return [(level_of(observation), said_of(observation)) for observation in found]


def test_missing_workers() -> None:
    """A place counts that stays empty, and none that serve when there are none for as long."""
    all_serve, one, none = WorkerFacts(2, 2, 0), WorkerFacts(2, 1, 0), WorkerFacts(2, 0, 0)
    assert workers(all_serve, one, one, one, none, none, none, all_serve) == [
        (OK, "2 serve"),
        (OK, "1 serve"),
        (OK, "1 serve"),
        (WARNING, "1 of 2 serve"),
        (WARNING, "0 of 2 serve"),
        (WARNING, "0 of 2 serve"),
        (ERROR, "0 of 2 serve"),
        (OK, "2 serve"),
    ]


def test_workers_that_are_replaced() -> None:
    """All have died, and others serve in their places at the next look: nobody is turned away."""
    none, all_serve = WorkerFacts(1, 0, 1), WorkerFacts(1, 1, 1)
    assert [level for level, _ in workers(none, none, all_serve, none, none, all_serve)] == [OK] * 6


def test_workers_that_start() -> None:
    """At the start of all, nothing is missing yet."""
    assert workers(WorkerFacts(2, 0, 0, is_starting=True)) == [
        (OK, "0 of 2 serve, the others start")
    ]


def test_deaths() -> None:
    """Each counts for two minutes, also when its place is filled at the next look."""
    seen = [WorkerFacts(2, 2, deaths) for deaths in (3, 4, 8, 8, 8, 8)]
    assert workers(*seen, every_s=50) == [
        (OK, "2 serve"),
        (WARNING, "1 died in the last 2 min"),
        (ERROR, "5 died in the last 2 min"),
        (ERROR, "5 died in the last 2 min"),
        (WARNING, "4 died in the last 2 min"),
        (OK, "2 serve"),
    ]


def test_deaths_counted_anew() -> None:
    """After a worker that has lived long, the supervisor begins to count again."""
    seen = [WorkerFacts(2, 2, deaths) for deaths in (5, 1, 1)]
    assert [level for level, _ in workers(*seen)] == [OK, WARNING, WARNING]


@pytest.mark.parametrize(
    ("lag", "level"), [(0.1, OK), (0.3, WARNING), (2.5, ERROR)], ids=["quick", "late", "stuck"]
)
def test_loop_lag(lag: float, level: Level) -> None:
    assert workers(WorkerFacts(1, 1, 0, {"worker 0": lag}))[0][0] is level


def test_unknown_workers() -> None:
    assert WorkersComponent(AT_ONCE, SETTINGS, lambda: None).observe(0).summary == "unknown yet"


# -- stores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        pytest.param(StoreFacts("/d", 50, 100), OK, "", id="ok"),
        pytest.param(StoreFacts("/d", 0, 0), OK, "", id="of-no-size"),
        pytest.param(StoreFacts("/d", 1, 100), WARNING, "/d has 1 % free (1 B)", id="nearly-full"),
        pytest.param(StoreFacts("/d", 0, 100), WARNING, "/d has 0 % free (0 B)", id="full"),
        pytest.param(
            StoreFacts("/d", failure="Input/output error"),
            ERROR,
            "/d cannot be read: Input/output error",
            id="failed",
        ),
        pytest.param(
            StoreFacts("/d", 50, 100, waited_s=3),
            WARNING,
            "/d has not answered for 3 s",
            id="stalls",
        ),
        pytest.param(
            StoreFacts("/d", 0, 100, failure="x", waited_s=30),
            ERROR,
            "/d has not answered for 30 s",
            id="stalls-for-long",
        ),
    ],
)
def test_store(facts: StoreFacts, level: Level, said: str) -> None:
    problems = store_problems(facts, SETTINGS)
    assert worst_level(problem.level for problem in problems) is level
    assert "".join(problem.reason for problem in problems) == said


@pytest.mark.parametrize(
    ("facts", "held", "level", "said"),
    [
        pytest.param(StoreFacts("/d"), [HeldStore(False, 1, 2)], OK, "", id="served"),
        pytest.param(
            StoreFacts("/d"),
            [HeldStore(True, 0, 0), HeldStore(False, 1, 2)],
            ERROR,
            "1 of 2 workers hold /d for failed: the log has why",
            id="held-for-failed",
        ),
        pytest.param(
            StoreFacts("/d", failure="x"),
            [HeldStore(True, 0, 0)],
            ERROR,
            "/d cannot be read: x",
            id="said-once",
        ),
        pytest.param(
            StoreFacts("/d", tried=16, unreadable=1),
            [],
            WARNING,
            "1 of 16 objects tried on /d cannot be read",
            id="a-bad-object",
        ),
    ],
)
def test_store_as_workers_hold_it(
    facts: StoreFacts, held: list[HeldStore], level: Level, said: str
) -> None:
    problems = store_problems(facts, SETTINGS, held)
    assert worst_level(problem.level for problem in problems) is level
    assert "".join(problem.reason for problem in problems) == said


def test_room_of_a_disk_counts_once() -> None:
    one, two = StoreFacts("/d/1", 5, 9, device=1), StoreFacts("/d/2", 5, 9, device=1)
    other, read_only = StoreFacts("/e", 1, 2, device=2), StoreFacts("/r", device=3)
    assert room_of([one, two, other, read_only]) == Room(6, 11)


# -- the control plane ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contact", "level", "said"),
    [
        pytest.param(None, OK, "reports are not pushed", id="none"),
        pytest.param(Contact(10.0), OK, "took a report 10 s ago", id="in-contact"),
        pytest.param(Contact(10.0, "502"), OK, "took a report 10 s ago", id="one-failed"),
        pytest.param(
            Contact(100.0, "502"), WARNING, "has taken no report for 100 s: 502", id="late"
        ),
        pytest.param(
            Contact(20.0, "502", is_lost=True),
            ERROR,
            "has taken no report for 20 s: 502",
            id="lost",
        ),
    ],
)
def test_contact(contact: Contact | None, level: Level, said: str) -> None:
    seen = ContactComponent(AT_ONCE, SETTINGS, lambda: contact).observe(1000.0)
    assert (level_of(seen), said_of(seen)) == (level, said)
