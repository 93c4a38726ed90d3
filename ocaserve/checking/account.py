"""Looking with another user's eyes: root can read what the appliance's user cannot.

The look is taken by a child process that has become that user. Without being told, root looks as
the user of the systemd unit, where that starts the appliance with the same configuration.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec

from ocaserve.checking.addresses import address_look
from ocaserve.checking.examining import Examined, Look, examine
from ocaserve.checking.unit import Unit, find_unit, sandbox_look
from ocaserve.errors import OcaserveError, SettingsError
from ocaserve.findings import Finding
from ocaserve.routing.exabgp import become_user, find_exabgp_faults


class Account(NamedTuple):
    """Whom the appliance runs as. `why` says how that is known; `unit` is what starts it."""

    name: str
    why: str = ""
    unit: Unit | None = None


def find_account(config: str, given: str | None) -> Account | None:
    """The account that is meant; None for our own. Raises OcaserveError for one that is not there.

    given: by the operator. Only root can look as somebody else.
    """
    unit = find_unit(config)
    if given is None:
        if os.geteuid() or unit is None or not unit.user or not _is_account(unit.user):
            return None
        return Account(unit.user, f", whom {unit.file} starts it as", unit)
    if not _is_account(given):
        raise OcaserveError(f"--user {given!r}: must be the name of an account")
    if pwd.getpwnam(given).pw_uid == os.geteuid():
        return None
    if os.geteuid():
        raise OcaserveError(f"--user {given!r}: only root can look as another user")
    return Account(given, unit=unit if unit is not None and unit.user == given else None)


def _is_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


class _Answer(msgspec.Struct):
    """What the child says: what it found, or why it could not look."""

    findings: list[Finding]
    faults: list[str]


def examine_as(account: Account | None, config: str) -> Examined:
    """All that is wrong with a configuration for an account. Raises OcaserveError."""
    unit = account.unit if account is not None else None
    looks = (
        address_look(may_use_low_ports=unit is not None and unit.grants_low_ports),
        sandbox_look(unit),
    )
    # Ours first, whoever is asked for: it imports what a child could not, whose user may not even
    # read the libraries.
    own = examine(base=config, more=(*looks, find_exabgp_faults))
    if account is None:
        return own
    answer = _ask_child(account.name, config, looks)
    if answer.faults:
        raise SettingsError(answer.faults)
    judged = [each for each in own.findings if each.key == "bgp"]  # ExaBGP's word, not the user's
    return Examined(own.settings, [*answer.findings, *judged])


def _ask_child(user: str, config: str, looks: Sequence[Look]) -> _Answer:
    """Have a process that is this user look. Raises OcaserveError if it cannot."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _answer(user, config, looks, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    try:
        return msgspec.json.decode(said, type=_Answer)
    except msgspec.DecodeError as error:
        raise OcaserveError(f"cannot look as the user {user}") from error


def _answer(user: str, config: str, looks: Sequence[Look], pipe: int) -> NoReturn:
    """In the child: become the user, look, say what is seen, end."""
    status = 1
    try:
        become_user(user)
        try:
            found = examine(base=config, more=looks)
            answer = _Answer(list(found.findings), [])
        except SettingsError as error:
            answer = _Answer([], list(error.faults))
        except Exception as error:  # noqa: BLE001 - it is told by who asked us
            answer = _Answer([], [f"cannot look as the user {user}: {error!r}"])
        with os.fdopen(pipe, "wb") as out:
            out.write(msgspec.json.encode(answer))
        status = 0
    finally:
        os._exit(status)
