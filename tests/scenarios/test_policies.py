"""Policies by commands, at a real control plane: released, kept over a restart, rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ocaserve.cli import main
from tests.support.fleet import FleetProcess, report
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

TOKEN = "a-token-for-those-who-operate"
TOML = f'report_ttl_s = 3600\ntokens = {{ operate = ["{TOKEN}"] }}\n' + "".join(
    f'[[fleet.appliance]]\nid = "{name}"\nurls = ["http://192.0.2.{number}"]\n'
    f'labels = {{ machine = "{machine}" }}\n'
    for number, (name, machine) in enumerate([("oca-1", "old"), ("oca-2", "new")], 1)
)
OLD = """
load("@testing", "client", "equal", "server")

def admit(client, server):
    return server.labels.get("machine") != "old"

def test_old():
    equal(admit(client(), server(labels = {"machine": "old"})), False)
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetProcess]:
    with FleetProcess.running(tmp_path, TOML) as running:
        tell(running)
        yield running


def tell(running: FleetProcess) -> None:
    for name in ("oca-1", "oca-2"):
        told = report(name, {"11.0.0.0/8": (1, 0)})
        answer = running.post("/v1/reports", told, Authorization=f"Bearer {TOKEN}")
        assert answer.status in (204, 401)
        assert running.post("/v1/reports", told).status == 204
    gives(running, "oca-1", "oca-2")


def gives(running: FleetProcess, *servers: str) -> None:
    eventually(lambda: first(running) == set(servers), f"{servers} get clients")


def first(running: FleetProcess) -> set[str]:
    objects = running.steer("11.1.1.1", *(f"film-{n}.mp4" for n in range(12)))["objects"]
    return {f"oca-{urls[0].split('/')[2].rsplit('.', 1)[1]}" for urls in objects.values() if urls}


def command(running: FleetProcess, folder: Path, *words: str, status: int = 0) -> str:
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    given = ["--fleet", running.operators, "--token-file", str(token)]
    done = CliRunner().invoke(main, ["fleet", "policy", *words, *given], env={"USER": "ann"})
    assert done.exit_code == status, done.output
    return done.output


def test_released_and_rolled_back_by_commands(fleet: FleetProcess, tmp_path: Path) -> None:
    program = tmp_path / "no-old.star"
    program.write_text(OLD)
    said = command(fleet, tmp_path, "shadow", str(program), "--note", "old disks")
    assert "1 tests passed" in said
    assert "release 1 (no-old): shadow, until " in said
    assert "no release to promote: 1 shadow" in command(
        fleet, tmp_path, "promote", "no-old", status=1
    )
    command(fleet, tmp_path, "canary", "no-old", "--share", "0.1")
    assert "release 1, canary: " in command(fleet, tmp_path, "top")
    command(fleet, tmp_path, "promote", "no-old")
    gives(fleet, "oca-2")
    assert "no-old: in force by release 1" in command(fleet, tmp_path, "top")
    command(fleet, tmp_path, "rollback", "no-old", "--reason", "a mistake")
    gives(fleet, "oca-1", "oca-2")
    lines = command(fleet, tmp_path, "log").splitlines()
    assert lines[0].endswith("1 (no-old)  roll back  ann: a mistake")
    assert len(lines) == 6


def test_kept_over_a_restart(tmp_path: Path) -> None:
    program = tmp_path / "no-old.star"
    program.write_text(OLD)
    with FleetProcess.running(tmp_path, TOML) as running:
        tell(running)
        command(running, tmp_path, "shadow", str(program))
        command(running, tmp_path, "canary", "no-old")
        command(running, tmp_path, "promote", "1")
        gives(running, "oca-2")
    with FleetProcess.running(tmp_path, TOML) as running:
        gives(running, "oca-2")
