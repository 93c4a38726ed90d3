"""Whether an object is in some store, by the same rules as for a client."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from urllib.parse import quote

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.target import parse_target
from ocaserve.serving.opening import choose_opener


def has_object(stores: Sequence[str], key: str) -> bool:
    """Look on the disks; for a thread. A store that cannot be read has nothing."""
    try:
        path = parse_target(b"/" + quote(key.lstrip("/"), safe="/").encode()).key
    except RequestRefused:
        return False
    return any(_is_in(store, path) for store in stores)


def _is_in(store: str, key: bytes) -> bool:
    try:
        folder = os.open(store, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        descriptor = choose_opener(folder)(folder, key)
        try:
            return stat.S_ISREG(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    finally:
        os.close(folder)
