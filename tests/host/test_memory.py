"""How much memory a process may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocaserve.host.memory import find_group_limit, lockable_bytes


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        ("0::/a/b", {"a/b/memory.max": "max"}, None),
        ("0::/a/b", {"a/b/memory.max": "4096", "a/memory.max": "8192"}, 4096),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "8192"}, 8192),
        ("0::/a/b", {"a/b/memory.max": "8192", "a/b/memory.high": "4096"}, 4096),
        ("0::/", {"memory.max": "4096"}, 4096),
        ("4:cpu,memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "4096"}, 4096),
        ("4:memory:/of/the/host", {"memory/memory.limit_in_bytes": "4096"}, 4096),
        ("4:cpu:/a", {"memory/a/memory.limit_in_bytes": "4096"}, None),
    ],
)
def test_limit_of_groups(
    tmp_path: Path, group: str, files: dict[str, str], limit: int | None
) -> None:
    """The least of all above counts, in both versions of cgroups(7)."""
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text(f"{group}\n")
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    assert find_group_limit("7", tmp_path) == limit


def test_without_groups(tmp_path: Path) -> None:
    """As where the system has none."""
    assert find_group_limit("self", tmp_path) is None


def test_half_may_be_locked() -> None:
    """Of the least that is known."""
    assert lockable_bytes(None, 8192, 16_384) == 4096
    assert lockable_bytes(None, None) is None
