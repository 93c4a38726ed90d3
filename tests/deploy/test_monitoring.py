"""Alert rules and dashboard: Prometheus takes them, and their metrics are those that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "ocaserve.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "ocaserve.json"

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus is not installed")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def expressions() -> Iterator[str]:
    """Of the dashboard, with its variables filled in."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$instance", ".*").replace("$__rate_interval", "5m")


@promtool
def test_rules_are_well_formed() -> None:
    done = run("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_rules_trip() -> None:
    """Each on the series that it is for, and on no other."""
    done = run("test", "rules", str(DEPLOY / "prometheus" / "ocaserve.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_dashboard_is_well_formed(tmp_path: Path) -> None:
    """Its expressions are checked as if each were a recording rule."""
    rules = [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(expressions())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 20


def test_panels_do_not_overlap() -> None:
    """Each place of the grid is of one panel."""
    taken = [
        (x, y)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


@pytest.mark.scenario
def test_metrics_are_there(tmp_path: Path) -> None:
    """What rules and dashboard name is what a running appliance shows."""
    control = tmp_path / "control"
    with Daemon.serving(tmp_path, toml=f'[control]\nlisten = ["unix:{control}"]\n') as daemon:
        assert daemon.pid

        def names() -> set[str]:
            shown = fetch(str(control), request("/metrics", host="localhost")).body.decode()
            return set(re.findall(r"^(ocaserve_\w+)", shown, re.MULTILINE))

        eventually(lambda: "ocaserve_health" in names(), "health was looked at once")
        there = names()
    rules = " ".join(re.findall(r"ocaserve_\w+", RULES.read_text()))
    named = set(re.findall(r"ocaserve_\w+", " ".join(expressions()) + " " + rules))
    assert named - there == set()
