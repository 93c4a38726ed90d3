"""`./dev`: what it says, and what it asks for, with a stand-in for Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# Notes its words, and is copied into the environments that it is asked to make.
STAND_IN = """#!/bin/sh
echo "$*" >>"$NOTES"
case $* in *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;; esac
"""


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        pytest.param(["--help"], 0, "", id="help"),
        pytest.param([], 2, "./dev test", id="nothing"),
        pytest.param(["tset"], 2, "there is no 'tset'", id="slip"),
    ],
)
def test_explains_itself(words: list[str], status: int, told: str) -> None:
    """Asked for on stdout with status 0; else on stderr with 2."""
    done = subprocess.run([ROOT / "dev", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stdout)) == (status, status == 0)
    assert told in done.stderr
    assert "./dev deb" in done.stdout + done.stderr


def test_installs_what_is_shipped(tmp_path: Path) -> None:
    """Libraries come in the versions of the lock, once: they are not asked for a second time."""
    (tmp_path / "deploy").mkdir()
    for name in ("dev", "pyproject.toml", "deploy/development.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    notes, stand_in = tmp_path / "notes", tmp_path / "python"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    for _ in range(2):
        environment = {**os.environ, "PYTHON": str(stand_in), "NOTES": str(notes)}
        subprocess.run([tmp_path / "dev", "demo"], env=environment, check=True, timeout=20)
    calls = notes.read_text().splitlines()
    (installed,) = [call for call in calls if " install " in call]
    assert "--constraint deploy/development.lock -e .[demo]" in installed
    assert calls.count("-m ocaserve demo") == 2
