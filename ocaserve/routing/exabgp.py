"""The service `exabgp`: a process that keeps the sessions with the routers, and its child.

It is there when the settings have neighbors. A reload that leaves its configuration as it was does
not touch it; one that changes it has ExaBGP read it again, so that the sessions with other routers
go on. Nothing in it needs root: ports below 1024, to which routers connect, are for those who give
the appliance the privilege (CAP_NET_BIND_SERVICE).
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bgp.configuration import NeighborConfiguration, render_configuration, render_environment
from bgp.feeder import SOCKET_VARIABLE
from ocaserve.findings import Finding, Severity
from ocaserve.settings import Settings
from ocaserve.settings.bgp import Bgp, NeighborSettings, read_md5_key
from ocaserve.supervisor.service import Given, Service, become
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_CONFIGURATION = "exabgp.conf"
_ENVIRONMENT = "exabgp.env"
_FEEDER = (sys.executable, "-P", "-m", "bgp.feeder")  # -P: its folder is "/", which holds no module
_NOT_PASSED_ON = ("EXABGP", "LISTEN_", "NOTIFY_", "OCASERVE_", "WATCHDOG_")
_VALIDATION_S = 30.0


class ExabgpPlan(NamedTuple):
    """What ExaBGP is made from. `user` is empty for our own account."""

    configuration: str
    environment: str
    user: str


def exabgp_service() -> Service:
    """For the supervisor."""
    return Service("exabgp", _run, plan_exabgp, is_command=True, adjust=_adjust)


def plan_exabgp(settings: Settings) -> ExabgpPlan | None:
    """None without neighbors: then there is no BGP."""
    bgp = settings.bgp
    if not bgp.neighbor:
        return None
    user = bgp.user if not os.geteuid() else ""
    configuration = render_configuration(tuple(_neighbors(bgp)), _FEEDER)
    return ExabgpPlan(configuration, render_environment(user or _own_account()), user)


def _neighbors(bgp: Bgp) -> Iterator[NeighborConfiguration]:
    for each in bgp.neighbor:
        try:
            key = _read_key(each)
        except (OSError, ValueError) as error:  # it was there when the settings were read
            _log.error("no session with %s: %s: %s", each.address, each.md5_file, error)
            continue
        yield NeighborConfiguration(
            address=each.address,
            peer_as=each.peer_as,
            local_as=bgp.local_as,
            router_id=bgp.router_id,
            local_address=each.local_address,
            port=each.port,
            listen_port=each.listen_port,
            passive=each.passive,
            families=tuple(each.families),
            md5_key=key,
            hold_time_s=each.hold_time_s,
            add_path=each.add_path,
            ttl_security=each.ttl_security,
        )


def _read_key(neighbor: NeighborSettings) -> str:
    if not neighbor.md5_file:
        return ""
    if sys.platform.startswith("freebsd"):
        return "kernel"  # setkey(8) has given it the key; this only says that there is one
    return read_md5_key(neighbor.md5_file)


def _own_account() -> str:
    """A name that ExaBGP accepts; without root it does not use it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may give any number
        return "nobody"


# -- files ---------------------------------------------------------------------------------------


def make_feed_folder(folder: Path, bgp: Bgp) -> Path:
    """The folder, below that of the running appliance, where control and ExaBGP meet.

    It is ours, also where ExaBGP has an account of its own: what lies in it may be that account's
    to read, but nobody else can put anything there for us to write to. Raises OSError.
    """
    place = folder / "bgp"
    place.mkdir(mode=0o700, exist_ok=True)
    if bgp.user and not os.geteuid():
        for each in (folder, place):
            each.chmod(0o711)  # others may go through it, to what is theirs
    return place


def owner_of(user: str) -> tuple[int, int] | None:
    """The user's number and its group's; None for no user. Raises OSError where there is none."""
    if not user:
        return None
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise OSError(errno.ENOENT, f"bgp.user = {user!r}: there is no such user") from None
    return account.pw_uid, account.pw_gid


def feed_socket(folder: Path) -> Path:
    """Where control listens for the feeder, in the folder of the running appliance."""
    return folder / "bgp" / "feed.sock"


def write_files(plan: ExabgpPlan, folder: Path) -> None:
    """The files are replaced in one step: ExaBGP may read them at any time. Raises OSError."""
    texts = {_CONFIGURATION: plan.configuration, _ENVIRONMENT: plan.environment}
    for name, text in texts.items():
        replace_file(folder / name, text.encode(), mode=0o400, owner=owner_of(plan.user))


# -- the process ---------------------------------------------------------------------------------


def _run(given: Given) -> int:
    """In the forked child: become ExaBGP."""
    plan = plan_exabgp(given.settings)
    assert plan is not None, "it is started only with a plan"
    try:
        folder = make_feed_folder(given.folder, given.settings.bgp)
        write_files(plan, folder)
        if plan.user:
            become_user(plan.user)
        become(
            [sys.executable, "-P", "-m", "exabgp", "server", str(folder / _CONFIGURATION)],
            _environment(folder, os.environ, {SOCKET_VARIABLE: str(feed_socket(given.folder))}),
        )
    except OSError as error:
        _log.error("exabgp cannot start: %s", error)
        return 1


def _environment(folder: Path, ours: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Ours without what is meant for us, or would be taken for a setting of ExaBGP's."""
    kept = {k: v for k, v in ours.items() if not k.upper().startswith(_NOT_PASSED_ON)}
    return {**kept, "EXABGP_ENVFILE": str(folder / _ENVIRONMENT), "PYTHONUTF8": "1", **more}


def become_user(user: str) -> None:
    """Give root up, with all groups. Raises OSError."""
    owner = owner_of(user)
    assert owner is not None
    os.initgroups(user, owner[1])
    os.setgid(owner[1])
    os.setuid(owner[0])


def _adjust(before: object, after: object, folder: Path, pid: int) -> bool:
    """Have a running ExaBGP take up another configuration; False if it must be started anew."""
    assert isinstance(before, ExabgpPlan)
    assert isinstance(after, ExabgpPlan)
    if before._replace(configuration="") != after._replace(configuration=""):
        return False
    write_files(after, folder / "bgp")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    return True


# -- checking ------------------------------------------------------------------------------------


def find_exabgp_faults(settings: Settings) -> Iterator[Finding]:
    """What ExaBGP's own validator says of what it would get. Without it there are no routes."""
    plan = plan_exabgp(settings)
    if plan is None:
        return
    why = ""
    try:
        with TemporaryDirectory(prefix="ocaserve-check-") as scratch:
            why = _ask_validator(plan, Path(scratch))
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"cannot be asked: {error}"
    if why:
        yield Finding("bgp", f"ExaBGP says: {why}", severity=Severity.DEGRADED)


def _ask_validator(plan: ExabgpPlan, folder: Path) -> str:
    """What it has against a plan; empty if nothing. Raises OSError, TimeoutExpired."""
    write_files(plan._replace(user=""), folder)
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-P", "-m", "exabgp", "validate", str(folder / _CONFIGURATION)],
        env=_environment(folder, os.environ, {}),
        capture_output=True,
        text=True,
        timeout=_VALIDATION_S,
        check=False,
    )
    told = done.stderr.strip().splitlines()
    if "Traceback (most recent call last):" in done.stderr:
        told = told[-1:]
    said = " ".join(told).replace(str(folder / _CONFIGURATION), "its configuration").split()
    return (" ".join(said) or f"status {done.returncode}") if done.returncode else ""
