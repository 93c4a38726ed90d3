"""What is tested is what is shipped: both lists of libraries agree, and so does what is here."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ROOT / "deploy" / "requirements.lock"
DEVELOPMENT = ROOT / "deploy" / "development.lock"
SYSTEMS = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.9", "sys_platform": system}
    for minor in (11, 12, 13)
    for system in ("linux", "freebsd14")
]


def requirements(lock: Path) -> list[Requirement]:
    lines = lock.read_text().splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in " #"]


def pinned(lock: Path, system: dict[str, str] | None = None) -> dict[NormalizedName, str]:
    """The version of each library, by its canonical name, on a system (else on this one)."""
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in requirements(lock)
        if each.marker is None or each.marker.evaluate(system)
    }


@pytest.mark.parametrize(
    "system", SYSTEMS, ids=lambda s: f"{s['python_version']}-{s['sys_platform']}"
)
def test_tests_are_given_what_is_shipped(system: dict[str, str]) -> None:
    """On each Python and system, the development list holds the shipped list."""
    assert pinned(SHIPPED, system).items() <= pinned(DEVELOPMENT, system).items()


def test_this_environment_is_what_is_shipped() -> None:
    """The tests run with the versions of the lock. If not: remove .venv, or `make lock`."""
    here = {canonicalize_name(each.name): each.version for each in metadata.distributions()}
    locked = pinned(DEVELOPMENT)
    assert {name: here[name] for name in locked if name in here} == {
        name: version for name, version in locked.items() if name in here
    }
    assert pinned(SHIPPED).keys() <= here.keys()


def test_every_shipped_library_has_hashes() -> None:
    """And no list names a place to load from: that is for whoever installs to say."""
    blocks = SHIPPED.read_text().split("\n    # via")
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    for lock in (SHIPPED, DEVELOPMENT):
        assert "//" not in lock.read_text()
        assert "index" not in lock.read_text()


def test_lock_has_what_the_project_asks_for() -> None:
    """A library that is new in pyproject.toml is in the lock, in a version that is allowed."""
    locked = pinned(SHIPPED)
    for text in metadata.requires("ocaserve") or []:
        wanted = Requirement(text)
        if wanted.marker is None:
            assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), text
