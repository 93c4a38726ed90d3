"""Where files of a running appliance go that nobody needs after it: sockets, configurations made.

The folder is new, only this user can look into it, and it is removed at the end. It lies in the one
that the service manager gives (`RUNTIME_DIRECTORY` of systemd.exec(5)), else among the temporary
files. A new version that takes over has its own: neither overwrites what the other still uses.
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
