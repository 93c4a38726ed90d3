"""Alert rules and dashboard: Prometheus takes them, and their metrics are those that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.fleet import FleetProcess
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
NAMES = ("ocaserve", "fleet")
"""Of appliances, and of control planes."""

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus is not installed")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def rules_of(name: str) -> Path:
    return DEPLOY / "prometheus" / f"{name}.rules.yml"


def panels_of(name: str) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]]
    panels = json.loads((DEPLOY / "grafana" / f"{name}.json").read_text())["panels"]
    return panels


def expressions(name: str) -> Iterator[str]:
    """Of the dashboard, with its variables filled in."""
    for panel in panels_of(name):
        for target in panel["targets"]:
            yield target["expr"].replace("$instance", ".*").replace("$__rate_interval", "5m")


@promtool
@pytest.mark.parametrize("name", NAMES)
def test_rules_are_well_formed(name: str) -> None:
    done = run("check", "rules", str(rules_of(name)))
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
@pytest.mark.parametrize("name", NAMES)
def test_rules_trip(name: str) -> None:
    """Each on the series that it is for, and on no other."""
    done = run("test", "rules", str(DEPLOY / "prometheus" / f"{name}.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
@pytest.mark.parametrize("name", NAMES)
def test_dashboard_is_well_formed(name: str, tmp_path: Path) -> None:
    """Its expressions are checked as if each were a recording rule."""
    rules = [
        {"record": f"panel:{place}", "expr": text} for place, text in enumerate(expressions(name))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 12


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_overlap(name: str) -> None:
    """Each place of the grid is of one panel."""
    taken = [
        (x, y)
        for panel in panels_of(name)
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def labels_of(text: str) -> set[str]:
    """The labels that an expression groups by or selects, but for those that Prometheus adds."""
    groups = re.findall(r"\b(?:by|on) \(([^)]*)\)", text)
    selected = re.findall(r"(\w+)(?:=|!|=~|!~)+\"", text)
    names = {name.strip() for group in groups for name in group.split(",")} | set(selected)
    return names - {"instance", "job", "le", ""}


@pytest.mark.scenario
def test_metrics_are_there(tmp_path: Path) -> None:
    """What rules and dashboard name is what a running appliance shows."""
    control = tmp_path / "control"
    toml = f'[control]\nlisten = ["unix:{control}"]\n[fill]\n'
    with Daemon.serving(tmp_path, toml=toml) as daemon:
        assert daemon.pid

        def names() -> set[str]:
            shown = fetch(str(control), request("/metrics", host="localhost")).body.decode()
            return set(re.findall(r"^(?:# TYPE )?(ocaserve_\w+)", shown, re.MULTILINE))

        eventually(lambda: "ocaserve_health" in names(), "health was looked at once")
        eventually(lambda: "ocaserve_fill_open" in names(), "fill was looked at once")
        there = names()
    check_names("ocaserve", there)


@pytest.mark.scenario
def test_metrics_of_a_control_plane_are_there(tmp_path: Path) -> None:
    with FleetProcess.running(tmp_path) as fleet:
        shown = fleet.get("/metrics").body.decode()
    check_names("fleet", set(re.findall(r"^(?:# TYPE )?(ocaserve_\w+)", shown, re.MULTILINE)))


def check_names(name: str, there: set[str]) -> None:
    """Those of rules and dashboard are among these; their labels are known."""
    rules = " ".join(re.findall(r"ocaserve_\w+", rules_of(name).read_text()))
    named = set(re.findall(r"ocaserve_\w+", " ".join(expressions(name)) + " " + rules))
    assert named - there == set()
    exporters = (ROOT / "ocaserve").rglob("*.py")
    known = set(re.findall(r"\"(\w+)\"", " ".join(file.read_text() for file in exporters)))
    assert {label for text in expressions(name) for label in labels_of(text)} <= known
