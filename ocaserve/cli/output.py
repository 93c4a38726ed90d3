"""What all commands have in common: how they fail, speak to programs, and show that they go on."""

from __future__ import annotations

import json
import sys
import time
from typing import NoReturn

import click

from ocaserve.errors import OcaserveError

_LINE_EVERY_S = 30.0


def fail(error: OcaserveError) -> NoReturn:
    """Say what is wrong, a line for each fault; end with status 1."""
    for line in str(error).splitlines():
        click.echo(f"ocaserve: {printable(line)}", err=True)
    sys.exit(1)


def print_line(text: str) -> None:
    """One line, of which others may have chosen parts: what is not printable, as the sequences are
    that a terminal obeys, is shown as Python writes it.
    """
    click.echo(printable(text))


def printable(text: str) -> str:
    """The same, with what is not printable as Python writes it."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def print_json(answer: object) -> None:
    """For programs: one document."""
    json.dump(answer, sys.stdout, indent=2)
    sys.stdout.write("\n")


def quantity(value: float, unit: str) -> str:
    """1.5e9 of "bit/s" is "1.5 Gbit/s"."""
    from ocaserve.health.words import amount  # with all of health, so only when it is needed

    return amount(value, unit)


class ProgressBar:
    """How something that takes long goes on, on standard error.

    On a terminal one line that changes; elsewhere a line now and then.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._said = ""
        self._next = 0.0

    def show(self, text: str) -> None:
        """Say how it is now."""
        if text == self._said:
            return
        if self._is_terminal:
            self._said = text
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        elif time.monotonic() >= self._next:
            self._said = text
            self._next = time.monotonic() + _LINE_EVERY_S
            click.echo(text, err=True)

    def end(self) -> None:
        """Leave the terminal to what comes next."""
        if self._is_terminal and self._said:
            click.echo("\r\x1b[K", nl=False, err=True)
