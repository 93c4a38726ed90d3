"""The command line. What the operator did wrong is said in one line each, never a traceback.

A module for each group of commands; what a command needs beyond the command line is imported when
it runs, so that `--help` is quick and a missing extra harms only its own command.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import click

from ocaserve import __version__
from ocaserve.cli.demo import demo
from ocaserve.cli.doctor import doctor
from ocaserve.cli.inventory import inventory
from ocaserve.cli.ledger import ledger
from ocaserve.cli.operate import drain, enable, reload, status
from ocaserve.cli.output import fail
from ocaserve.cli.routes import explain, report, routes
from ocaserve.cli.serve import check, serve
from ocaserve.cli.sign import sign
from ocaserve.errors import OcaserveError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Commands(click.Group):
    """All commands. What they print must arrive: into a file on a full disk it does not."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            try:
                return super().main(*args, **options)
            finally:
                sys.stdout.flush()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed once more
            fail(OcaserveError(f"cannot write: {error.strerror}"))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ocaserve")
def main() -> None:
    """Serve video from this machine's disks: byte ranges from disk to socket."""


for _command in (
    serve, check, demo, status, drain, enable, reload, sign, doctor, inventory, ledger,
    routes, report, explain,
):  # fmt: skip
    main.add_command(_command)
