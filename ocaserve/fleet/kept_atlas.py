"""The last atlas, in a file beside that of what was reported: by it a restart answers at once,
while another is drawn of all tables, which takes seconds where there are thousands.
"""

from __future__ import annotations

import logging
import math
import zlib
from pathlib import Path
from weakref import ReferenceType, ref

import msgspec

from ocaserve.fleet.atlas import Atlas
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_EVERY_S = 60.0  # tens of megabytes, of which little has changed, and which nobody may ever read
_LEVEL = 1  # of zlib, whose check sum tells what is damaged


class KeptAtlas:
    """One file. Its calls wait for the disk: they are for a thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._kept: ReferenceType[Atlas] | None = None
        self._kept_at = -math.inf

    def load(self) -> Atlas | None:
        """None where there is none, or one that cannot be understood, which is said."""
        try:
            return Atlas(zlib.decompress(self._file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, zlib.error, msgspec.MsgspecError, LookupError, ValueError) as error:
            _log.error("fleet: begins without the atlas of before: %s: %s", self._file, error)
            return None

    def is_due(self, atlas: Atlas, now: float) -> bool:
        """Whether one is to be kept that is in force now, on the monotonic clock."""
        is_kept = self._kept is not None and self._kept() is atlas
        return bool(atlas.tables) and not is_kept and now - self._kept_at >= _EVERY_S

    def save(self, atlas: Atlas, now: float) -> None:
        """Raises OSError."""
        replace_file(self._file, zlib.compress(atlas.image, _LEVEL))
        self._kept, self._kept_at = ref(atlas), now
