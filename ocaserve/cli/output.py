"""What all commands have in common: how they fail, and how they speak to programs."""

from __future__ import annotations

import json
import sys
from typing import NoReturn

import click

from ocaserve.errors import OcaserveError


def fail(error: OcaserveError) -> NoReturn:
    """Say what is wrong, a line for each fault; end with status 1."""
    for line in str(error).splitlines():
        click.echo(f"ocaserve: {line}", err=True)
    sys.exit(1)


def print_json(answer: object) -> None:
    """For programs: one document."""
    json.dump(answer, sys.stdout, indent=2)
    sys.stdout.write("\n")
