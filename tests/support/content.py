"""The store that the scenarios serve, the same on every run."""

from __future__ import annotations

import os
import random
from pathlib import Path

MODIFIED = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
MODIFIED_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
SECRET = b"outside of the store"


def blob(size: int, seed: int = 1) -> bytes:
    """Bytes that no range of which looks like another, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def write_object(folder: Path, key: str, data: bytes, modified: float = MODIFIED) -> Path:
    """Write an object below a store, with a known time."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified, modified))
    return path


def make_store(folder: Path) -> Path:
    """Objects of every sort that a request can name, and things that are none. Returns `folder`."""
    write_object(folder, "movie.mp4", blob((1 << 20) + 13))
    write_object(folder, "small.vtt", blob(1000, seed=2))
    write_object(folder, "empty.bin", b"")
    write_object(folder, "season 1/é.m4s", blob(70_000, seed=3))
    write_object(folder, "season 1/x", blob(10, seed=4))
    write_object(folder, ".hidden", SECRET)
    write_object(folder, ".git/config", SECRET)
    outside = write_object(folder.parent / f"{folder.name}-outside", "secret.txt", SECRET)
    (folder / "out.mp4").symlink_to(outside)
    (folder / "up.mp4").symlink_to(f"../{outside.parent.name}/secret.txt")
    (folder / "out-folder").symlink_to(outside.parent)
    (folder / "same.mp4").symlink_to("movie.mp4")
    os.mkfifo(folder / "pipe.mp4")
    return folder
