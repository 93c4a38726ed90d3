"""`deploy/audit`: what it makes of the answers of pip-audit, which a stand-in gives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

AUDIT = Path(__file__).parent.parent.parent / "deploy" / "audit"
SKIPPED = "aiohttp  Dependency not found on PyPI and could not be audited: aiohttp (3.14.3)"


@pytest.mark.parametrize(
    ("answer", "status", "passes", "told"),
    [
        pytest.param("No known vulnerabilities found", 0, True, "", id="none"),
        pytest.param("Found 1 known vulnerability in 1 package", 1, False, "Found 1", id="one"),
        pytest.param(
            f"Found 2 known vulnerabilities in 1 package\n{SKIPPED}", 1, False, "Found 2",
            id="one_beside_what_is_not_known",
        ),
        pytest.param(
            f"No known vulnerabilities found, 1 skipped\n{SKIPPED}", 0, True, "1 of ",
            id="not_in_the_database",
        ),
        pytest.param("requests.exceptions.ConnectionError", 1, True, "cannot be reached", id="off"),
        pytest.param("No module named pip_audit", 1, False, "No module", id="not_installed"),
    ],
)  # fmt: skip
def test_answer(tmp_path: Path, answer: str, status: int, passes: bool, told: str) -> None:
    """Only what was found, or a failure of another sort, fails the check; and it is shown."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\ncat <<'ANSWER' >&2\n{answer}\nANSWER\nexit {status}\n")
    stand_in.chmod(0o755)
    done = subprocess.run([AUDIT, stand_in], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is passes
    assert told in done.stdout
    assert bool(told) is bool(done.stdout)
