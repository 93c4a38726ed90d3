"""Both versions of control groups, and machines that have neither."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.cgroups import Controller, Limit, find_controller, limited, why_not
from benchmarks.errors import LoadFailure

OLD = """\
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/blkio cgroup rw,relatime,blkio 0 0
"""


def new(folder: Path) -> str:
    return f"cgroup2 {folder} cgroup2 rw,nosuid 0 0\n"


def test_version_1_has_a_folder_for_each_controller() -> None:
    assert find_controller("io", OLD) == Controller("blkio", 1, Path("/sys/fs/cgroup/blkio"))
    assert find_controller("memory", OLD) == Controller("memory", 1, Path("/sys/fs/cgroup/memory"))


def test_version_2_has_one_folder_that_names_its_controllers(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io\n")
    assert find_controller("io", new(tmp_path)) == Controller("io", 2, tmp_path)
    assert find_controller("memory", new(tmp_path)) is None


def test_where_both_are_mounted_the_one_that_governs_is_taken(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("\n")
    found = find_controller("memory", new(tmp_path) + OLD)
    assert found is not None
    assert found.version == 1


@pytest.mark.parametrize(
    ("limit", "version", "setting"),
    [
        (Limit("memory", 4096), 1, ("memory.limit_in_bytes", "4096")),
        (Limit("memory", 4096), 2, ("memory.max", "4096")),
        (Limit("io", 80, "254:0"), 1, ("blkio.throttle.read_bps_device", "254:0 80")),
        (Limit("io", 80, "254:0"), 2, ("io.max", "254:0 rbps=80")),
        (Limit("cpu", 50), 1, ("cpu.cfs_quota_us", "5000")),
        (Limit("cpu", 50), 2, ("cpu.max", "5000 100000")),
        (Limit("pids", 3), 1, ("pids.max", "3")),
        (Limit("pids", 3), 2, ("pids.max", "3")),
    ],
    ids=["memory-1", "memory-2", "io-1", "io-2", "cpu-1", "cpu-2", "pids-1", "pids-2"],
)
def test_each_version_has_its_words(limit: Limit, version: int, setting: tuple[str, str]) -> None:
    assert limit.setting(version) == setting


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not("io") == "control groups are for root: run it as root"


def test_a_limit_holds_its_processes_and_lets_go_of_them() -> None:
    reason = why_not("memory")
    if reason is not None:
        with pytest.raises(LoadFailure), limited([], Limit("memory", 1 << 26)):
            pass
        pytest.skip(reason)
    sleeper = subprocess.Popen(["sleep", "60"])
    groups = Path(f"/proc/{sleeper.pid}/cgroup")
    try:
        before = groups.read_text()
        with limited([sleeper.pid], Limit("memory", 1 << 26)):
            assert f"benchmarks-{os.getpid()}-memory" in groups.read_text()
        assert "benchmarks-" not in groups.read_text()
        assert len(groups.read_text().splitlines()) == len(before.splitlines())
    finally:
        sleeper.kill()
        sleeper.wait()
