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
from ocaserve.cli.check import check
from ocaserve.cli.completion import completion
from ocaserve.cli.demo import demo
from ocaserve.cli.doctor import doctor
from ocaserve.cli.fill import fill
from ocaserve.cli.fleet import fleet
from ocaserve.cli.fleet_bills import bill
from ocaserve.cli.fleet_bills import ledger as fleet_ledger
from ocaserve.cli.fleet_migration import migrate
from ocaserve.cli.follow import follow
from ocaserve.cli.inventory import inventory
from ocaserve.cli.ledger import ledger
from ocaserve.cli.maintenance import maintenance
from ocaserve.cli.operate import drain, enable, reload
from ocaserve.cli.output import fail
from ocaserve.cli.policy import policy
from ocaserve.cli.queue import queue
from ocaserve.cli.routes import explain, report, routes
from ocaserve.cli.serve import serve
from ocaserve.cli.sign import sign
from ocaserve.cli.status import status
from ocaserve.cli.token import token
from ocaserve.errors import OcaserveError

_INTERRUPTED = 130  # as shells have it: 128 and the number of the signal
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Commands(click.Group):
    """All commands. What they print must arrive: into a file on a full disk it does not.

    Who closes the pipe that we write to, or interrupts us, knows that; nothing is said.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            try:
                return super().main(*args, **options)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OSError as error:
            if error.errno not in (*_FULL, errno.EPIPE):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed once more
            if error.errno == errno.EPIPE:
                sys.exit(1)
            fail(OcaserveError(f"cannot write: {error.strerror}"))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(err=True)  # behind the ^C of the terminal
            sys.exit(_INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ocaserve")
def main() -> None:
    """Serve video from this machine's disks: byte ranges from disk to socket."""


for _command in (
    serve, check, demo, status, drain, enable, reload, maintenance, token, sign, doctor, inventory,
    ledger, routes, report, explain, queue, fill, fleet, follow, completion,
):  # fmt: skip
    main.add_command(_command)
for _command in (bill, fleet_ledger, policy):
    fleet.add_command(_command)
fleet_ledger.add_command(migrate)
