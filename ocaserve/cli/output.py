"""What all commands have in common: how they fail."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from ocaserve.errors import OcaserveError


def fail(error: OcaserveError) -> NoReturn:
    """Say what is wrong, a line for each fault; end with status 1."""
    for line in str(error).splitlines():
        click.echo(f"ocaserve: {line}", err=True)
    sys.exit(1)
