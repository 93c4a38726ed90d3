"""Files that hold a secret: whom the file system lets read them."""

from __future__ import annotations

import os
import stat

OWNER_ONLY = "others can read it; must be for its owner only (0600)"
NOT_EVERYBODY = "everybody can read it; must be for its owner, or a group, only (0640)"


def is_owners_only(file: str) -> bool:
    """Whether nobody else may do anything with it. Raises OSError."""
    return not os.stat(file).st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def is_everybodys(file: str) -> bool:
    """Whether all users of the machine may read it. Raises OSError."""
    return bool(os.stat(file).st_mode & stat.S_IROTH)
