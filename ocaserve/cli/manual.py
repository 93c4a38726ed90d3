"""`python -m ocaserve.cli.manual DIR`: write the manual pages, made from commands and settings."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct

from ocaserve import __version__
from ocaserve.cli import main
from ocaserve.schema import describe_rows
from ocaserve.settings.manual import SECTIONS

_PROGRAM = r"""Turns a server full of disks into an appliance of a content delivery network.
Each command has a page of its own, and explains itself with
.BR \-\-help .
"""
_PROGRAM_TAIL = r""".SH SIGNALS
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
.SH ENVIRONMENT
Where neither
.B \-\-config
nor
.B \-\-control
is given:
.TP
.B OCASERVE_CONFIG
The configuration.
.TP
.B OCASERVE_CONTROL
Where the appliance is controlled.
.SH FILES
.TP
.I /etc/ocaserve/ocaserve.toml
The configuration of the service.
.TP
.I /usr/share/doc/ocaserve
The operator's manual, the API, and configurations for three sizes of machines.
.TP
.I /usr/share/ocaserve
Alert rules for Prometheus and a dashboard for Grafana.
.SH SEE ALSO
.BR ocaserve.toml (5)
"""
_FILE = r"""The configuration of
.BR ocaserve (1),
in TOML.
.B ocaserve check
finds what is wrong with one; a running appliance reads it again on
.BR "ocaserve reload" .
Only
.B [[store]]
is required:
.PP
.nf
[serve]
listen = ["0.0.0.0:80", "[::]:80"]

[[store]]
path = "/srv/oca/disk1"
.fi
"""


def make_pages() -> dict[str, str]:
    """All pages by the name of their file, in the man(7) language."""
    context = click.Context(main, info_name="ocaserve", **main.context_settings)
    commands = list(_visible(main, context))
    pages = {"ocaserve.1": _program(commands), "ocaserve.toml.5": _settings()}
    for command in commands:
        name = f"{context.info_name}-{command.info_name}"
        pages[f"{name}.1"] = _page(name, 1, _summary(command)) + "".join(_command(command))
    return pages


def _visible(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield click.Context(command, context, info_name=name)


# -- commands ------------------------------------------------------------------------------------


def _program(commands: list[click.Context]) -> str:
    rows = [
        f".TP\n.BR ocaserve\\-{_escape(each.info_name or '')} (1)\n{_prose(_summary(each))}\n"
        for each in commands
    ]
    head = _page("ocaserve", 1, "serve byte ranges of large files from disk to socket")
    synopsis = '.SH SYNOPSIS\n.B ocaserve\n.I command\n.RI [ option " ...]"\n'
    description = f".SH DESCRIPTION\n{_PROGRAM}.SH COMMANDS\n{''.join(rows)}"
    return head + synopsis + description + _PROGRAM_TAIL


def _command(context: click.Context) -> Iterator[str]:
    yield f".SH SYNOPSIS\n.B {_escape(context.command_path)}\n{_usage(context)}\n"
    yield f".SH DESCRIPTION\n{_paragraphs(context.command.help or '')}"
    options = _options(context)
    if options:
        yield f".SH OPTIONS\n{options}"
    if isinstance(context.command, click.Group):
        yield ".SH COMMANDS\n"
        for below in _visible(context.command, context):
            yield f'.SS "{_escape(f"{below.command_path} {_usage(below)}")}"\n'
            yield _paragraphs(below.command.help or "") + _options(below)
    yield ".SH SEE ALSO\n.BR ocaserve (1),\n.BR ocaserve.toml (5)\n"


def _summary(context: click.Context) -> str:
    return (context.command.help or "").split("\n\n")[0].replace("\b", "")


def _usage(context: click.Context) -> str:
    return _escape(" ".join(context.command.collect_usage_pieces(context)))


def _options(context: click.Context) -> str:
    records = [each.get_help_record(context) for each in context.command.get_params(context)]
    return "".join(
        f".TP\n.B {_escape(names)}\n{_prose(text)}\n"
        for names, text in filter(None, records)
        if text and "--help" not in names
    )


# -- settings ------------------------------------------------------------------------------------


def _settings() -> str:
    head = _page("ocaserve.toml", 5, "configuration of ocaserve")
    sections = "".join(_section(title, shape) for title, shape in SECTIONS)
    return f"{head}.SH DESCRIPTION\n{_FILE}{sections}.SH SEE ALSO\n.BR ocaserve (1)\n"


def _section(title: str, shape: type[Struct]) -> str:
    rows = [
        f".TP\n.B {_escape(row.key)}\n{_prose(row.why)}.\n.br\n"
        f"Default: {_prose(row.default)}; allowed: {_prose(row.allowed)}.\n"
        for row in describe_rows(shape)
    ]
    return f'.SH "{_escape(title)}"\n{_prose(inspect.getdoc(shape) or "")}\n{"".join(rows)}'


# -- the language --------------------------------------------------------------------------------


def _page(name: str, section: int, summary: str) -> str:
    of_what = {1: "User commands", 5: "File formats"}[section]
    title = f'.TH {_escape(name.upper())} {section} "" "ocaserve {__version__}" "{of_what}"\n'
    words = _prose(summary.strip().rstrip("."))
    return f"{title}.SH NAME\n{_escape(name)} \\- {words}\n"


def _paragraphs(text: str) -> str:
    parts = [_prose(part) for part in re.split(r"\n\s*\n", text.strip())]
    return "\n.PP\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """One paragraph: what is in backticks is bold, and no line of it is a request."""
    escaped = _escape(" ".join(text.replace("\b", "").split()))
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", escaped)


def _escape(text: str) -> str:
    """No word of ours is a request or an escape of roff."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", escaped)


def _write(folder: Path) -> None:
    for name, text in make_pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
