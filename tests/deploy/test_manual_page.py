"""The manual pages are made from commands and settings, so they have them all, and well-formed."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import msgspec
import pytest

from ocaserve.cli import main
from ocaserve.cli.manual import make_pages
from ocaserve.settings.manual import SECTIONS
from ocaserve.settings.model import File

PAGES = make_pages()


def test_every_command_has_a_page() -> None:
    """With its options, but without those that are for programs."""
    for name, command in main.commands.items():
        assert rf"ocaserve\-{name} (1)" in PAGES["ocaserve.1"]
        page = PAGES[f"ocaserve-{name}.1"]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(option.replace("-", r"\-") in page for option in parameter.opts), name
    assert r"\-\-ready\-fd" not in PAGES["ocaserve-serve.1"]


def test_commands_below_a_command_are_on_its_page() -> None:
    """`routes replay` is found where `routes` is."""
    assert '.SS "ocaserve routes replay ' in PAGES["ocaserve-routes.1"]


def test_every_setting_is_on_the_page_of_the_file() -> None:
    """Below its table, and every table of the file is there."""
    page = PAGES["ocaserve.toml.5"]
    sections = dict(zip(*[iter(re.split(r'(?m)^\.SH "(.*)"$', page)[1:])] * 2, strict=True))
    for title, shape in SECTIONS:
        for info in msgspec.structs.fields(shape):
            table = any(title.strip("[]") + "." + info.name == t.strip("[]") for t, _ in SECTIONS)
            assert table or f".B {info.name}\n" in sections[title], (title, info.name)
    tables = {title.strip("[]").split(".")[0] for title, _ in SECTIONS}
    assert tables == {info.name for info in msgspec.structs.fields(File)}


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no reader of manual pages that checks them")
@pytest.mark.parametrize("name", PAGES)
def test_page_is_well_formed(name: str) -> None:
    """mandoc has no complaint."""
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning"],
        input=PAGES[name], capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert complaints == []
