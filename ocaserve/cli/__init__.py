"""The command line. What the operator did wrong is said in one line each, never a traceback.

A module for each group of commands; what a command needs beyond the command line is imported when
it runs, so that `--help` is quick and a missing extra harms only its own command.
"""

from __future__ import annotations

import click

from ocaserve import __version__
from ocaserve.cli.demo import demo
from ocaserve.cli.doctor import doctor
from ocaserve.cli.serve import check, serve
from ocaserve.cli.sign import sign


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ocaserve")
def main() -> None:
    """Serve video from this machine's disks: byte ranges from disk to socket."""


for _command in (serve, check, demo, sign, doctor):
    main.add_command(_command)
