"""Whether an object is in some store, by the same rules as for a client."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from functools import partial
from urllib.parse import quote

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.target import parse_target
from ocaserve.serving.openers import choose_opener
from ocaserve.stores import show_path
from ocaserve.stores.answers import insist, says_absent
from ocaserve.stores.folder import Folder


def look_for_object(stores: Sequence[str], key: str) -> tuple[bool, str]:
    """Look on the disks; for a thread. Whether it is there, and a sentence.

    What cannot be read is not served, but neither is it known to be absent: the sentence says so.
    """
    shown = repr(key[:200])
    absent = f"it does not have the object {shown}"
    try:
        path = parse_target(b"/" + quote(key.lstrip("/"), safe="/").encode()).key
    except RequestRefused:
        return False, absent
    faults = []
    for store in stores:
        try:
            if _is_in(store, path):
                return True, f"it has the object {shown}"
        except OSError as error:
            faults.append(f"{show_path(store)}: {error.strerror}")
    if faults:
        return False, f"it cannot read the object {shown}: {'; '.join(faults)}"
    return False, absent


def _is_in(store: str, key: bytes) -> bool:
    """Raises OSError when that can't be known now."""
    folder = Folder(store)
    opener = choose_opener(folder.descriptor)
    try:
        descriptor = insist(partial(opener, folder.descriptor, key))
    except OSError as error:
        if says_absent(folder.descriptor, key, error):
            return False
        raise
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
