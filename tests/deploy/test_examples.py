"""The example configurations: the program takes each, given its folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ocaserve.cli import main

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
EXAMPLES = [*sorted((DEPLOY / "examples").glob("*.toml")), DEPLOY / "debian" / "ocaserve.toml"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    """Its paths are made below a folder of the test; all else is as it stands."""
    text = re.sub(r'"/(srv|var|etc)/', rf'"{tmp_path}/\1/', example.read_text())
    text = re.sub(r':(80|443)"', r':18\1"', text)  # which only root may bind
    for path in re.findall(r'^path = "(.*)"$', text, re.MULTILINE):
        Path(path).mkdir(parents=True)
    (tmp_path / "var/log/ocaserve").mkdir(parents=True)
    config = tmp_path / "ocaserve.toml"
    config.write_text(text)
    result = CliRunner().invoke(main, ["check", "-c", str(config)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{config}: good\n")


def test_there_are_three_sizes() -> None:
    """And what the Debian package begins with."""
    assert [path.stem for path in EXAMPLES] == ["flash-10g", "lab", "storage-100g", "ocaserve"]
