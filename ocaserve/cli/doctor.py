"""`doctor`: what the host has wrong, what that costs, and the command that puts it right."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ocaserve.cli.options import config_option, find_config
from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError

if TYPE_CHECKING:
    from ocaserve.doctor import Needs
    from ocaserve.doctor.host import Host
    from ocaserve.doctor.stores import User

_SERVICE_USER = "ocaserve"


@click.command()
@click.argument("directories", nargs=-1, metavar="[DIR]...")
@config_option()
@click.option("--user", help="Whom the appliance runs as.  [default: ocaserve, or you]")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Print what is good, too.")
@click.option("--root", default="/", hidden=True, type=click.Path(exists=True, file_okay=False))
def doctor(
    directories: tuple[str, ...],
    config: str | None,
    user: str | None,
    is_json: bool,
    verbose: bool,
    root: str,
) -> None:
    """Check the host, and say what to change and why. It changes nothing itself.

    Ends with status 1 when something is wrong.
    """
    from ocaserve.doctor import checks_for, judge_all
    from ocaserve.doctor.report import as_json, describe, is_good

    who = _find_user(user)
    if not directories:
        config = find_config(config)
    try:
        needs, stores = _needs(directories, config, who.name)
    except OcaserveError as error:
        fail(error)
    host = _host(stores, who, root)
    findings = list(judge_all(checks_for(sys.platform, needs), host.read))
    if is_json:
        click.echo(json.dumps(as_json(findings), indent=2))
    else:
        click.echo(describe(findings, verbose=verbose))
    sys.exit(0 if is_good(findings) else 1)


def _find_user(name: str | None) -> User:
    from ocaserve.doctor.stores import User

    try:
        return User.named(name or _SERVICE_USER)
    except KeyError as error:
        if name is None:
            return User.current()
        raise click.UsageError(f"--user {name!r}: must be a user of this system") from error


def _needs(
    directories: Sequence[str], config: str | None, user: str
) -> tuple[Needs, Sequence[str]]:
    """Without a configuration, those of the defaults; without a store, of none."""
    from ocaserve.checking import examine
    from ocaserve.doctor import Needs

    if not directories and config is None:
        return Needs(user=user), ()
    settings = examine(directories, base=config).require()
    return Needs.of(settings, user), [store.path for store in settings.store]


def _host(stores: Sequence[str], user: User, root: str) -> Host:
    from ocaserve.doctor.host import FreeBsdHost
    from ocaserve.doctor.linux_host import LinuxHost
    from ocaserve.doctor.system import System

    kind = FreeBsdHost if sys.platform.startswith("freebsd") else LinuxHost
    return kind(stores, user, System(), Path(root))
