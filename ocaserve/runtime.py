"""Where files of a running appliance go.

The runtime folder is for what nobody needs after it: sockets, configurations that are made. It is
new, only this user can look into it, and it is removed at the end. It lies in the one that the
service manager gives (`RUNTIME_DIRECTORY` of systemd.exec(5)), else among the temporary files. A
new version that takes over has its own: neither overwrites what the other still uses.

The state folder is for what shall outlive the appliance: the settings name it, else the service
manager (`STATE_DIRECTORY`). Without one such things are forgotten.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def make_runtime_folder(environment: Mapping[str, str]) -> Path:
    """Make the folder of this appliance. Raises OSError when it cannot be made."""
    given = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(tempfile.mkdtemp(prefix="ocaserve-", dir=given or None))


def remove_runtime_folder(folder: Path) -> None:
    """With all that is in it; what cannot be removed stays, as nothing depends on it."""
    shutil.rmtree(folder, ignore_errors=True)


def find_state_folder(given: str, environment: Mapping[str, str]) -> Path | None:
    """The folder of `appliance.state_directory`, or the service manager's; None without either."""
    folder = given or environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) if folder else None
