"""The service `exabgp`: a process that keeps the sessions with the routers, and its child.

It is there when the settings have neighbors. A reload that leaves its configuration as it was does
not touch it; one that changes it has ExaBGP read it again, so that the sessions with other routers
go on. Nothing in it needs root: ports below 1024, to which routers connect, are for those who give
the appliance the privilege (CAP_NET_BIND_SERVICE).
"""

from __future__ import annotations

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

from bgp.configuration import Neighbor, render_configuration, render_environment
from bgp.feeder import SOCKET_VARIABLE
from ocaserve.errors import SettingsError
from ocaserve.settings import Settings
from ocaserve.settings.bgp import Bgp, NeighborSettings, read_md5_key
from ocaserve.supervisor.service import Given, Service, become

_log = logging.getLogger(__name__)

_CONFIGURATION = "exabgp.conf"
_ENVIRONMENT = "exabgp.env"
_FEEDER = (sys.executable, "-P", "-m", "bgp.feeder")  # -P: its folder is "/", which holds no module
_NOT_PASSED_ON = ("EXABGP", "LISTEN_", "NOTIFY_", "OCASERVE_", "WATCHDOG_")
_VALIDATION_S = 30.0


class Plan(NamedTuple):
    """What ExaBGP is made from. `user` is empty for our own account."""

    configuration: str
    environment: str
    user: str


def exabgp_service() -> Service:
    """For the supervisor."""
    return Service("exabgp", _run, plan_exabgp, is_command=True, adjust=_adjust)


def plan_exabgp(settings: Settings) -> Plan | None:
    """None without neighbors: then there is no BGP."""
    bgp = settings.bgp
    if not bgp.neighbor:
        return None
    user = bgp.user if not os.geteuid() else ""
    configuration = render_configuration(tuple(_neighbors(bgp)), _FEEDER)
    return Plan(configuration, render_environment(user or _own_account()), user)


def _neighbors(bgp: Bgp) -> Iterator[Neighbor]:
    for each in bgp.neighbor:
        try:
            key = _read_key(each)
        except (OSError, ValueError) as error:  # it was there when the settings were read
            _log.error("no session with %s: %s: %s", each.address, each.md5_file, error)
            continue
        yield Neighbor(
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

    Only ExaBGP's account can look into it, and root. Raises OSError.
    """
    place = folder / "bgp"
    place.mkdir(mode=0o700, exist_ok=True)
    if bgp.user and not os.geteuid():
        folder.chmod(0o711)  # others may go through it, to what is theirs
        give_to(place, bgp.user)
    return place


def give_to(path: Path, user: str) -> None:
    """Make it the user's own. Raises OSError."""
    account = pwd.getpwnam(user)
    os.chown(path, account.pw_uid, account.pw_gid)


def feed_socket(folder: Path) -> Path:
    """Where control listens for the feeder, in the folder of the running appliance."""
    return folder / "bgp" / "feed.sock"


def _write_files(plan: Plan, folder: Path) -> None:
    """The files are replaced in one step: ExaBGP may read them at any time."""
    texts = {_CONFIGURATION: plan.configuration, _ENVIRONMENT: plan.environment}
    for name, text in texts.items():
        draft = folder / f"{name}.new"
        with suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if plan.user:
            give_to(draft, plan.user)
        draft.rename(folder / name)


# -- the process ---------------------------------------------------------------------------------


def _run(given: Given) -> int:
    """In the forked child: become ExaBGP."""
    plan = plan_exabgp(given.settings)
    assert plan is not None, "it is started only with a plan"
    folder = make_feed_folder(given.folder, given.settings.bgp)
    _write_files(plan, folder)
    if plan.user:
        _become_user(plan.user)
    become(
        [sys.executable, "-P", "-m", "exabgp", "server", str(folder / _CONFIGURATION)],
        _environment(folder, os.environ, {SOCKET_VARIABLE: str(feed_socket(given.folder))}),
    )


def _environment(folder: Path, ours: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Ours without what is meant for us, or would be taken for a setting of ExaBGP's."""
    kept = {k: v for k, v in ours.items() if not k.upper().startswith(_NOT_PASSED_ON)}
    return {**kept, "EXABGP_ENVFILE": str(folder / _ENVIRONMENT), "PYTHONUTF8": "1", **more}


def _become_user(user: str) -> None:
    """Give root up, with all groups. Raises OSError."""
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _adjust(before: object, after: object, folder: Path, pid: int) -> bool:
    """Have a running ExaBGP take up another configuration; False if it must be started anew."""
    assert isinstance(before, Plan)
    assert isinstance(after, Plan)
    if before._replace(configuration="") != after._replace(configuration=""):
        return False
    _write_files(after, folder / "bgp")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    return True


# -- checking ------------------------------------------------------------------------------------


def check_with_exabgp(settings: Settings) -> None:
    """Have ExaBGP's own validator judge what it would get. Raises SettingsError."""
    plan = plan_exabgp(settings)
    if plan is None:
        return
    with TemporaryDirectory(prefix="ocaserve-check-") as scratch:
        folder = Path(scratch)
        _write_files(plan._replace(user=""), folder)
        done = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-P", "-m", "exabgp", "validate", str(folder / _CONFIGURATION)],
            env=_environment(folder, os.environ, {}),
            capture_output=True,
            text=True,
            timeout=_VALIDATION_S,
            check=False,
        )
    if done.returncode:
        said = done.stderr.replace(str(folder / _CONFIGURATION), "its configuration").split()
        where = f"{settings.file}: " if settings.file else ""
        raise SettingsError([f"{where}bgp: ExaBGP says: {' '.join(said)}"])
