"""Where files of a running appliance go.

The runtime folder is for what nobody needs after it: sockets, configurations that are made. It is
new, only this user can look into it, and it is removed at the end. It lies in the one that the
service manager gives (`RUNTIME_DIRECTORY` of systemd.exec(5)), else among the temporary files, else
in the state folder. A new version that takes over has its own: neither overwrites what the other
still uses.

The state folder is for what shall outlive the appliance: the settings name it, else the service
manager (`STATE_DIRECTORY`). Without one such things are forgotten.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ocaserve.errors import StartError
from ocaserve.whole_files import can_others_write

_log = logging.getLogger(__name__)

DEMAND = "demand"  # in the runtime folder: where workers tell which objects they have sent


def make_runtime_folder(environment: Mapping[str, str]) -> Path:
    """Make the folder of this appliance, in the first of these places that takes it: what cannot be
    there (a disk is full, or gone) should not keep the appliance from serving.

    Raises StartError, which names each place and why not.
    """
    refusals: list[str] = []
    for what, place in _runtime_places(environment):
        try:
            folder = Path(tempfile.mkdtemp(prefix="ocaserve-", dir=_find_own(place)))
        except (OSError, ValueError) as error:
            refusals.append(f"{what}: {error}")
            continue
        for refusal in refusals:
            _log.warning("no folder for this run in %s; it is %s", refusal, folder)
        return folder
    raise StartError(f"no folder can be made for this run: {'; '.join(refusals)}")


def _runtime_places(environment: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """What to call each, and its path; None for where temporary files go."""
    given = _first(environment, "RUNTIME_DIRECTORY")
    if given:
        yield f"RUNTIME_DIRECTORY = {given}", given
    yield "the folder of temporary files", None
    state = _first(environment, "STATE_DIRECTORY")
    if state:
        yield f"STATE_DIRECTORY = {state}", state


def _find_own(place: str | None) -> str:
    """The place, if root can trust it: what lies there must stay what root has put there."""
    found = place or tempfile.gettempdir()
    if not os.geteuid() and can_others_write(found):
        raise PermissionError(f"{found} can be written by another user")
    return found


def _first(environment: Mapping[str, str], name: str) -> str:
    """Of several folders, divided by colons; empty where there is none."""
    return environment.get(name, "").partition(":")[0]


def remove_runtime_folder(folder: Path) -> None:
    """With all that is in it; what cannot be removed stays, as nothing depends on it."""
    shutil.rmtree(folder, ignore_errors=True)


def find_state_folder(given: str, environment: Mapping[str, str]) -> Path | None:
    """The folder of `appliance.state_directory`, or the service manager's; None without either."""
    folder = given or _first(environment, "STATE_DIRECTORY")
    return Path(folder) if folder else None
