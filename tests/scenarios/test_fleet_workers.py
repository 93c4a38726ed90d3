"""The control plane's processes: each may die, or be replaced, and answers go on."""

from __future__ import annotations

import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.support.fleet import FleetProcess, report
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.slow, pytest.mark.timeout(120)]

TOML = "".join(
    f'[[fleet.appliance]]\nid = "{name}"\nurls = ["http://192.0.2.{number}"]\n'
    for number, name in enumerate(("oca-1", "oca-2"), 1)
)
HEARD = {"11.0.0.0/8": (1, 0)}


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetProcess]:
    """With two workers, and nothing that outlives the run."""
    (tmp_path / "run").mkdir(0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    with FleetProcess.running(tmp_path, TOML, state="memory", workers=2) as running:
        tell(running)
        yield running


def tell(fleet: FleetProcess, *names: str) -> None:
    """These have reported, and all workers know."""
    told = names or ("oca-1", "oca-2")
    for name in told:
        assert fleet.post("/v1/reports", report(name, HEARD)).status == 204
    eventually(lambda: all(fleet.servers() == set(told) for _ in range(8)), "workers know")


def child(fleet: FleetProcess, name: str) -> psutil.Process:
    """A process of it, by its name."""
    children = psutil.Process(fleet.process.pid).children()
    (found,) = [each for each in children if each.name() == name]
    return found


def replaced(fleet: FleetProcess, name: str, pid: int) -> bool:
    children = psutil.Process(fleet.process.pid).children()
    return any(each.name() == name and each.pid != pid for each in children)


class Asking:
    """Clients that ask all the time, until the block ends. answers: what they got."""

    def __init__(self, fleet: FleetProcess) -> None:
        self.answers: list[set[str] | Exception] = []
        self._fleet = fleet
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._is_over.wait(0.01):
            try:
                self.answers.append(self._fleet.servers())
            except Exception as error:  # noqa: BLE001 - it is looked at
                self.answers.append(error)


def test_metrics_tell_of_workers(fleet: FleetProcess) -> None:
    """Of both together, by the names that they have at an appliance."""
    served = b'ocaserve_fleet_decisions_total{result="served"}'
    eventually(lambda: metric(fleet, served) >= 8, "decisions are noted")
    answered = metric(fleet, b'ocaserve_responses_total{code="2xx"}')
    assert metric(fleet, b"ocaserve_requests_total") >= answered >= metric(fleet, served)
    assert metric(fleet, b"ocaserve_first_byte_seconds_count") >= answered


def metric(fleet: FleetProcess, name: bytes) -> float:
    lines = fleet.get("/metrics").body.splitlines()
    (found,) = [line for line in lines if line.startswith(name + b" ")]
    return float(found.split()[-1])


def test_control_killed_costs_no_answer(fleet: FleetProcess, tmp_path: Path) -> None:
    """What it knew its successor knows, though nothing is kept on a disk of the operator's."""
    control = child(fleet, "oca-control")
    with Asking(fleet) as asking:
        eventually(lambda: is_kept(tmp_path), "it has written down what it knows")
        control.kill()
        eventually(lambda: replaced(fleet, "oca-control", control.pid), "it is replaced")
        eventually(lambda: fleet.taking() == {"oca-1", "oca-2"}, "it knows all again")
        drain = {"appliances": ["oca-1"], "reason": "fans"}
        token = (tmp_path / "run" / f"token-{fleet.operators}").read_text()
        answer = fleet.post("/v1/drain", drain, Authorization=f"Bearer {token}")
        assert answer.status == 200
        eventually(lambda: fleet.servers() == {"oca-2"}, "workers hear of changes again")
    known = {frozenset(each) for each in asking.answers if isinstance(each, set)}
    assert frozenset({"oca-1", "oca-2"}) in known
    assert known <= {frozenset({"oca-1", "oca-2"}), frozenset({"oca-2"})}
    assert not [each for each in asking.answers if isinstance(each, Exception)]


def is_kept(folder: Path) -> bool:
    """By control, in the folder of the run."""
    return any(count_kept(file) == 2 for file in (folder / "run").glob("*/.fleet.db"))


def count_kept(file: Path) -> int:
    """The appliances that are written down."""
    with closing(sqlite3.connect(file)) as connection, suppress(sqlite3.OperationalError):
        (count,) = connection.execute("SELECT count(*) FROM appliances").fetchone()
        return int(count)
    return 0


def test_worker_killed_is_replaced(fleet: FleetProcess) -> None:
    worker = child(fleet, "oca-worker-1")
    worker.kill()
    eventually(lambda: replaced(fleet, "oca-worker-1", worker.pid), "it is replaced")
    eventually(lambda: all(fleet.servers() for _ in range(8)), "it answers as the others do")
    decisions = fleet.get("/v1/status").body["decisions"]
    eventually(
        lambda: (
            fleet.get("/v1/status").body["decisions"].get("served", 0) > decisions.get("served", 0)
        ),
        "what workers note arrives",
    )


def test_reload_refuses_nobody(fleet: FleetProcess, tmp_path: Path) -> None:
    """Other settings are in force, with other workers, and every question was answered."""
    before = {each.pid for each in psutil.Process(fleet.process.pid).children()}
    config = tmp_path / "fleet.toml"
    with Asking(fleet) as asking:
        state = 'state = "memory"'
        text = config.read_text().replace(state, f"answer_ttl_s = 77\n{state}")
        config.write_text(text)
        fleet.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: all(fleet.steer("11.1.1.1", "x")["ttl_s"] == 77 for _ in range(8)), "reloaded"
        )
        eventually(
            lambda: not before & {e.pid for e in psutil.Process(fleet.process.pid).children()},
            "all processes are others",
        )
    assert {frozenset(each) for each in asking.answers if isinstance(each, set)} == {
        frozenset({"oca-1", "oca-2"})
    }
    assert not [each for each in asking.answers if isinstance(each, Exception)]
    config.write_text(config.read_text().replace("answer_ttl_s = 77", "answer_ttl_s = 1"))
    fleet.process.send_signal(signal.SIGHUP)
    eventually(lambda: "reload refused" in (tmp_path / "fleet.log").read_text(), "it is refused")
    assert fleet.steer("11.1.1.1", "x")["ttl_s"] == 77


def test_new_version_refuses_nobody(tmp_path: Path) -> None:
    """It takes over the sockets, and knows what the one before has kept."""
    with FleetProcess.running(tmp_path, TOML, workers=2) as fleet:
        tell(fleet)
        eventually(lambda: count_kept(tmp_path / "fleet.db") == 2, "it is kept")
        with ended_at_last(tmp_path / "fleet.log"), Asking(fleet) as asking:
            fleet.process.send_signal(signal.SIGUSR2)
            assert fleet.process.wait(40) == 0
            eventually(lambda: fleet.taking() == {"oca-1", "oca-2"}, "the new one knows all")
            answered = len(asking.answers)
            eventually(lambda: len(asking.answers) > answered + 8, "the new one answers")
    assert not [each for each in asking.answers if isinstance(each, Exception)]
    known = {frozenset(each) for each in asking.answers if isinstance(each, set)}
    assert known == {frozenset({"oca-1", "oca-2"})}


@contextmanager
def ended_at_last(log: Path) -> Iterator[None]:
    """Stop the version that has taken over: it is nobody's child here."""
    try:
        yield
    finally:
        for pid in re.findall(r"starting a new version \(pid (\d+)\)", log.read_text()):
            with suppress(psutil.NoSuchProcess):
                new = psutil.Process(int(pid))
                new.terminate()
                eventually(lambda new=new: not is_alive(new), "it has ended")  # type: ignore[misc]


def is_alive(process: psutil.Process) -> bool:
    """Who has ended may wait for an init that does not ask."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
