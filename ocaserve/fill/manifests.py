"""The manifests that were taken, the last ones as files: what is to be here outlives a restart."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

from ocaserve.fill.manifest import Manifest, ManifestError, read_manifest
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_KEPT = 5
_EMPTY = Manifest(version="", objects=[])


class Manifests:
    """folder: made if its parent is there. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self.etag = ""  # of where it was fetched from
        self.file: Path | None = None  # as it came: it is large, and read when it is asked for
        self._digest = b""
        self.current = _EMPTY
        self.taken_at = 0.0
        for file in reversed(self._files()):
            try:
                data = file.read_bytes()
                self.current = read_manifest(data)
                self.file, self._digest = file, _digest_of(data)
                self.taken_at = file.stat().st_mtime
                break
            except (OSError, ManifestError) as error:
                _log.error("fill: the manifest %s cannot be read: %s", file, str(error)[:500])

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("manifest-*.json"))

    def is_the_same(self, data: bytes) -> bool:
        """Whether it is what was taken last."""
        return _digest_of(data) == self._digest

    def take(self, data: bytes, manifest: Manifest, etag: str = "") -> None:
        """From now on this one. Raises OSError; then it is still the one before."""
        file = self._folder / f"manifest-{time.time_ns():020d}.json"
        replace_file(file, data, durable=True)
        self.file, self._digest = file, _digest_of(data)
        self.current, self.etag, self.taken_at = manifest, etag, time.time()
        for old in self._files()[:-_KEPT]:
            old.unlink(missing_ok=True)


def _digest_of(data: bytes) -> bytes:
    return hashlib.blake2b(data).digest()
