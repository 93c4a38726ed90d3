"""What deploy/ sets is what the doctor wants: each value by the rule of its check."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ocaserve.doctor import Needs, checks_for

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
UNCHECKED = {
    "vm.swappiness", "vm.dirty_bytes", "vm.dirty_background_bytes", "net.core.default_qdisc",
    "net.inet.ip.portrange.reservedhigh",
}  # fmt: skip
"""Judged together with other readings, or not by a number of their own."""


def settings_of(file: Path) -> dict[str, str]:
    """Keys and values of a file for sysctl or the loader."""
    lines = re.findall(r"^([a-z][\w.]*)\s*=\s*\"?([^\"\n]*?)\"?$", file.read_text(), re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize(
    ("file", "system"),
    [
        pytest.param("sysctl.d/60-ocaserve.conf", "linux", id="linux"),
        pytest.param("freebsd/sysctl.conf", "freebsd14", id="freebsd"),
        pytest.param("freebsd/loader.conf", "freebsd14", id="freebsd_loader"),
    ],
)
def test_kernel_variables(file: str, system: str) -> None:
    """None is set that is not checked, and each as the check wants it, for 16 workers."""
    checks = {check.source.key: check for check in checks_for(system, Needs(workers=16))}
    values = settings_of(DEPLOY / file)
    values.pop("cc_cubic_load", None)
    assert values
    for key, value in values.items():
        if key not in UNCHECKED:
            assert checks[key].rule.holds(value), f"{key} = {value}: {checks[key].rule.good}"


def test_each_line_has_a_reason() -> None:
    """A comment stands above whatever is set."""
    for file in ("sysctl.d/60-ocaserve.conf", "freebsd/sysctl.conf", "freebsd/loader.conf"):
        for block in (DEPLOY / file).read_text().split("\n#")[1:]:
            assert "=" in block or block.startswith((" Append", " What")), block


def test_disks() -> None:
    """What udev sets is what the doctor finds good."""
    checks = {check.name: check for check in checks_for("linux", Needs())}
    rules = (DEPLOY / "udev" / "60-ocaserve.rules").read_text()
    (read_ahead,) = re.findall(r'ATTR\{queue/read_ahead_kb\}="(\d+)"', rules)
    assert checks["read-ahead"].rule.holds(read_ahead)
    flash, spinning = re.findall(r'ATTR\{queue/scheduler\}="([\w-]+)"', rules)
    assert checks["flash-scheduler"].rule.holds(flash)
    assert checks["spinning-scheduler"].rule.holds(spinning)


@pytest.mark.parametrize(
    "script",
    [
        "audit", "freebsd/ocaserve", "debian/build", "debian/clean-tree", "debian/test",
        "debian/test-commands", "debian/test-inside", "test-container",
        "debian/postinst", "debian/prerm", "debian/postrm",
    ],
)  # fmt: skip
def test_scripts_are_well_formed(script: str) -> None:
    """A shell reads them, and they may be run."""
    file = DEPLOY / script
    done = subprocess.run(["sh", "-n", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert file.stat().st_mode & 0o111


@pytest.mark.skipif(not shutil.which("logrotate"), reason="logrotate is not installed")
def test_rotation(tmp_path: Path) -> None:
    """logrotate takes the file; the user of the service is not of this machine."""
    text = (DEPLOY / "logrotate" / "ocaserve").read_text()
    text = re.sub(r"^    (su .*|create .*)\n", "", text, flags=re.MULTILINE)
    config = tmp_path / "ocaserve"
    config.write_text(text)
    config.chmod(0o644)
    done = subprocess.run(
        ["logrotate", "--debug", "--state", tmp_path / "state", config],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr
