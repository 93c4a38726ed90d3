"""`token`: making a token for those who ask the appliance from elsewhere."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import tomllib
from pathlib import Path
from typing import NamedTuple

import click

from ocaserve.cli.options import config_option, json_option, require_config
from ocaserve.cli.output import fail, print_json
from ocaserve.errors import OcaserveError
from ocaserve.whole_files import replace_file

_BYTES = 32
_SERVICE_USER = "ocaserve"
_HEAD = (
    "# Tokens of the control interface, by role. Only the appliance's user may read this file.\n"
)

_ROLE = click.Choice(["read", "operate", "fill"])


class _Owner(NamedTuple):
    user: int
    group: int


@click.command()
@click.argument("word", metavar="[ROLE]", type=_ROLE, required=False)
@click.option("--role", type=_ROLE, help="The same as ROLE.  [default: operate]")
@config_option()
@click.option(
    "--file",
    type=click.Path(dir_okay=False),
    help="The file of tokens.  [default: control.tokens_file, else tokens.toml beside FILE]",
)
@json_option
def token(
    word: str | None, role: str | None, config: str | None, file: str | None, as_json: bool
) -> None:
    """Make a token of ROLE and keep it for the appliance.

    read: look; operate: look and change; fill: pieces of objects, for appliances of the site.

    The token is printed once, on standard output; what is to be done next, on standard error. It is
    added to the file of tokens, which belongs to the appliance's user alone.
    """
    if word and role:
        raise click.UsageError("name the role once")
    role = word or role or "operate"
    config = require_config(config)
    made = secrets.token_urlsafe(_BYTES)
    try:
        named = _named_file(config)
        place = Path(file or named or Path(config).resolve().parent / "tokens.toml").resolve()
        _add(place, role, made, config)
    except OcaserveError as error:
        fail(error)
    steps = list(_next_steps(config, named, place))
    if as_json:
        print_json({"token": made, "role": role, "file": str(place), "next": steps})
        return
    click.echo(made)
    click.echo(f"kept in {place}; it is not shown again. Next:", err=True)
    for step in steps:
        click.echo(f"  {step}", err=True)


def _named_file(config: str) -> str:
    from ocaserve.settings import load_control

    return load_control(config).tokens_file


def _next_steps(config: str, named: str, place: Path) -> list[str]:
    steps = []
    if not named or Path(named).resolve() != place:
        steps.append(f'in {config}, below [control]: tokens_file = "{place}"')
    steps.append(
        "`systemctl reload ocaserve`, or SIGHUP to the appliance, has it take the token up"
    )
    steps.append(
        "show it as `Authorization: Bearer TOKEN`, in the dashboard, or in a file with "
        "`ocaserve status --control ADDR:PORT --token-file FILE`"
    )
    return steps


def _add(file: Path, role: str, made: str, config: str) -> None:
    """Add the token to those in the file, in one step. Raises OcaserveError."""
    text, owner = _HEAD, _owner_of_new(config)
    tokens: dict[str, list[str]] = {"read": [], "operate": [], "fill": []}
    try:
        if file.exists():
            before = file.read_text()
            status = file.stat()
            owner = _Owner(status.st_uid, status.st_gid)
            tokens |= _parse(file, before)
            text = "".join(line for line in before.splitlines(True) if line.startswith("#"))
        tokens[role] = [*tokens[role], made]
        text += "".join(f"{name} = {json.dumps(held)}\n" for name, held in tokens.items())
        given = owner if owner != (os.geteuid(), os.getegid()) else None
        replace_file(file, text.encode(), owner=given, durable=True)
    except OSError as error:
        raise OcaserveError(f"{file}: {error.strerror}") from error


def _parse(file: Path, text: str) -> dict[str, list[str]]:
    """What it holds; what is wrong with it is not shown, as it may be a token."""
    from ocaserve.schema import judge
    from ocaserve.settings import Tokens

    try:
        judged = judge(Tokens, tomllib.loads(text))
    except ValueError:
        raise OcaserveError(f"{file}: must be TOML") from None
    if judged.findings:
        raise OcaserveError("\n".join(f"{file}: {each.text}" for each in judged.findings))
    return judged.values


def _owner_of_new(config: str) -> _Owner:
    """The appliance's user, if we may give files away; else we."""
    from ocaserve.checking.unit import find_unit

    if not os.geteuid():
        unit = find_unit(config)
        for name in (unit.user if unit is not None else "", _SERVICE_USER):
            try:
                account = pwd.getpwnam(name)
            except KeyError:
                continue
            return _Owner(account.pw_uid, account.pw_gid)
    return _Owner(os.geteuid(), os.getegid())
