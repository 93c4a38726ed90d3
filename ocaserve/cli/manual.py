"""`python -m ocaserve.cli.manual`: print the manual page, made from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from ocaserve import __version__
from ocaserve.cli import main

_HEAD = rf""".TH OCASERVE 1 "" "ocaserve {__version__}" "User commands"
.SH NAME
ocaserve \- serve byte ranges of large files from disk to socket
.SH SYNOPSIS
.B ocaserve
.I command
.RI [ option " ...]"
.SH DESCRIPTION
Turns a server full of disks into an appliance of a content delivery network.
Every command explains itself with
.BR \-\-help .
.SH COMMANDS
"""
_TAIL = r""".SH SIGNALS
To the first process of
.BR "ocaserve serve" :
.TP
.B TERM, INT
Let running responses end within
.IR serve.drain_s ,
then stop; a second time: stop at once.
.TP
.B HUP
Read the configuration again; workers are replaced one after the other.
.TP
.B USR1
Open the log files anew, after a rotation.
.TP
.B USR2
Start the version that is installed now on the same sockets, then end.
.SH EXIT STATUS
0: fine. 1: refused, or something is wrong. 2: wrong usage.
.SH FILES
.TP
.I /etc/ocaserve/ocaserve.toml
The configuration of the service.
.TP
.I /usr/share/doc/ocaserve/examples
Configurations for three sizes of machines.
"""


def describe_commands() -> str:
    """The manual page, in the man(7) language."""
    context = click.Context(main, info_name="ocaserve", **main.context_settings)
    sections = [
        line
        for name in main.list_commands(context)
        if (command := main.get_command(context, name)) and not command.hidden
        for line in _describe(command, click.Context(command, context, info_name=name), name)
    ]
    return _HEAD + "\n".join(sections) + "\n" + _TAIL


def _describe(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f'.SS "{_escape(f"ocaserve {name} {usage}")}"'
    yield from _paragraphs(command.help or "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            yield f".TP\n.B {_escape(record[0])}\n{_escape(record[1] or ' ')}"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            part = command.get_command(context, below)
            if part is not None and not part.hidden:
                inner = click.Context(part, context, info_name=below)
                yield from _describe(part, inner, f"{name} {below}")


def _paragraphs(text: str) -> Iterator[str]:
    for place, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        start = ".PP\n" if place else ""
        yield start + _escape(" ".join(paragraph.replace("\b", "").split()))


def _escape(text: str) -> str:
    """No word of ours is a request or an escape of roff."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", escaped)


if __name__ == "__main__":
    print(describe_commands(), end="")
