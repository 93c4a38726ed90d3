"""The unit files: systemd takes them, and the program runs under their filter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fleet import FleetProcess, report
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
UNIT = DEPLOY / "systemd" / "ocaserve.service"
FLEET_UNIT = DEPLOY / "systemd" / "ocaserve-fleet.service"
UNITS = {".service", ".socket"}
WORST_EXPOSURE = 2.0

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd is not of this system"
)


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def test_units_are_well_formed(tmp_path: Path) -> None:
    """No word that systemd does not know. Another program stands in for ours."""
    files = [each for each in (DEPLOY / "systemd").iterdir() if each.suffix in UNITS]
    for file in files:
        text = file.read_text().replace("/usr/bin/ocaserve", "/bin/true")
        (tmp_path / file.name).write_text(text)
    done = analyze("verify", "--man=no", *(str(tmp_path / file.name) for file in files))
    ours = [line for line in done.stderr.splitlines() if "ocaserve" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", [UNIT, FLEET_UNIT], ids=lambda unit: unit.stem)
def test_exposure(unit: Path) -> None:
    """What systemd counts against the unit is little."""
    done = analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(rf"Overall exposure level for {unit.name}: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found.group(1)) <= WORST_EXPOSURE


@pytest.mark.parametrize("unit", [UNIT, FLEET_UNIT], ids=lambda unit: unit.stem)
def test_only_one_capability(unit: Path) -> None:
    """To bind ports below 1024; a compromised process has no other."""
    text = unit.read_text()
    assert re.findall(r"^(?:Ambient|Bounding)\w*=(.*)$", text, re.MULTILINE) == [
        "CAP_NET_BIND_SERVICE"
    ]
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in text
    assert "NoNewPrivileges=yes\n" in text


@pytest.mark.scenario
def test_program_under_the_filter(tmp_path: Path) -> None:
    """It starts, serves, reloads and ends with only the system calls that the unit allows."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "film.bin").write_bytes(b"film" * 300_000)
    config = tmp_path / "ocaserve.toml"
    config.write_text(
        '[serve]\nlisten = ["unix:'
        + str(tmp_path / "s")
        + '"]\nworkers = 2\naccess_log = "off"\npinned_bytes = 4096\n'
        f'[control]\nlisten = ["unix:{tmp_path}/c"]\n[[store]]\npath = "disk"\n'
        f'[appliance]\nstate_directory = "{tmp_path}"\n[fill]\n'
    )
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.filtered", str(UNIT),
             sys.executable, "-m", "ocaserve", "serve", "-c", str(config)],
            stdout=out, stderr=out, cwd=DEPLOY.parent,
        )  # fmt: skip
    try:
        eventually(lambda: process.poll() is not None or b"serving" in log.read_bytes(), "starts")
        response = fetch(str(tmp_path / "s"), request("/film.bin"))
        assert response.body == b"film" * 300_000, log.read_text()
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0, log.read_text()
    assert "Operation not permitted" not in log.read_text()


@pytest.mark.scenario
def test_control_plane_under_the_filter(tmp_path: Path) -> None:
    """It starts, takes a report, decides, keeps what it knows, and ends."""
    filtered = [sys.executable, "-m", "tests.support.filtered", str(FLEET_UNIT)]
    toml = f'decision_log = "{tmp_path}/decisions.jsonl"\ndecision_log_share = 1.0\n'
    toml += '[[fleet.appliance]]\nid = "oca-1"\nurls = ["http://192.0.2.1"]\n'
    with FleetProcess.running(tmp_path, toml, under=filtered) as fleet:
        assert fleet.post("/v1/reports", report("oca-1", {"11.0.0.0/8": (1, 0)})).status == 204
        eventually(lambda: fleet.servers() == {"oca-1"}, "it decides")
        log = tmp_path / "decisions.jsonl"
        eventually(lambda: log.read_bytes(), "it writes them down")
    assert fleet.process.returncode == 0
    said = (tmp_path / "fleet.log").read_text()
    assert "Operation not permitted" not in said
    assert "cannot be kept" not in said


def test_filter_refuses() -> None:
    """The stand-in for the unit does refuse: otherwise the test above would show nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.filtered", str(UNIT),
         sys.executable, "-c", "import os; os.sched_setaffinity(0, {0})"],
        capture_output=True, text=True, cwd=DEPLOY.parent, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "PermissionError" in done.stderr
