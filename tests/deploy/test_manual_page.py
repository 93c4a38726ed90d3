"""The manual page is made from the commands, so it has them all, and well-formed."""

from __future__ import annotations

import shutil
import subprocess

import click
import pytest

from ocaserve.cli import main
from ocaserve.cli.manual import describe_commands


def test_every_command_is_there() -> None:
    """With its options, but without those that are for programs."""
    page = describe_commands()
    for name, command in main.commands.items():
        assert f"ocaserve {name}" in page
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(option.replace("-", r"\-") in page for option in parameter.opts), name
    assert r"\-\-ready\-fd" not in page


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no reader of manual pages that checks them")
def test_page_is_well_formed() -> None:
    """mandoc has no complaint."""
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning"],
        input=describe_commands(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert complaints == []
