"""What the stores hold, seen anew each time: the truth is on the disks.

A file that has another size or time than the index remembers is another version, of which the
digest is not known.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ocaserve.fill.index import Index, Row
from ocaserve.fill.planner import Held, StoreRoom
from ocaserve.fill.storing import find_started

LOST = "its disk is gone"


class Seen(NamedTuple):
    """A store, and what it has of what was asked for. fault: why it takes nothing; empty if it
    does.
    """

    state: StoreRoom
    held: list[Held]
    fault: str


def look_at(
    store: Path,
    keys: Collection[str],
    known: Mapping[str, Row],
    index: Index,
    alive: Callable[[], None],
    *,
    all_keys: bool,
) -> Seen:
    """One store: the copies of `keys` in it, or of everything; the index follows what is seen.

    known: what the index has of this store, by key. alive: called as it goes on. Raises OSError of
    the index.
    """
    state, fault = _look_at_room(store)
    if fault or _is_lost(store, index):  # it has lost nothing yet
        return Seen(without_room(store), [], fault or LOST)
    wanted = {*keys, *_walk(store)} if all_keys else keys
    found: list[Row] = []
    news: list[Row] = []
    gone: list[str] = []
    for key in wanted:
        alive()
        row = _look(store, key, known.get(key), news, gone)
        if row is not None:
            found.append(row)
    index.hold(news)
    index.drop_all([key for key in gone if key in known], str(store))
    return Seen(state, [held_of(row) for row in found], "" if state.is_writable else "read-only")


def _look(store: Path, key: str, known: Row | None, news: list[Row], gone: list[str]) -> Row | None:
    try:
        status = os.stat(store / key, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        gone.append(key)
        return None
    except OSError:  # it cannot be said now: what was known stays
        return known
    if not stat.S_ISREG(status.st_mode):
        return None
    if known is not None and (known.size, known.seen_ns) == (status.st_size, status.st_mtime_ns):
        return known
    row = Row(
        key=key, store=str(store), size=status.st_size, seen_ns=status.st_mtime_ns,
        since=time.time(),
    )  # fmt: skip
    news.append(row)
    return row


def held_of(row: Row) -> Held:
    """A row as the planner takes it."""
    return Held(key=row.key, store=row.store, size=row.size, sha256=row.sha256, is_ours=row.is_ours)


def is_as_known(row: Row) -> bool:
    """Whether the file is still what the index knows. Waits for the disk."""
    try:
        status = os.stat(Path(row.store, row.key), follow_symlinks=False)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (row.size, row.seen_ns)


def _walk(store: Path) -> Iterator[str]:
    """Keys of all that is served from a store."""
    for folder, folders, files in os.walk(store):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(folder, store)
        for name in files:
            if not name.startswith("."):
                key = name if below == "." else f"{below}/{name}"
                try:
                    key.encode()
                except UnicodeEncodeError:  # no manifest can name it
                    continue
                yield key


def without_room(store: Path) -> StoreRoom:
    """One that takes nothing now."""
    return StoreRoom(name=str(store), size=0, free=0, is_writable=False)


def _look_at_room(store: Path) -> tuple[StoreRoom, str]:
    """How full it is, and why that cannot be said."""
    try:
        os.scandir(store).close()
        room = os.statvfs(store)
        is_writable = os.access(store, os.W_OK | os.X_OK) and not room.f_flag & os.ST_RDONLY
        started = find_started(store)
    except OSError as error:
        return without_room(store), error.strerror or str(error)
    state = StoreRoom(
        name=str(store), size=room.f_frsize * room.f_blocks, free=room.f_frsize * room.f_bavail,
        is_writable=is_writable, started=started,
    )  # fmt: skip
    return state, ""


def _is_lost(store: Path, index: Index) -> bool:
    """Whether it lay on a file system of which only the place is left. Remembers where it lies."""
    known, now = index.mounts().get(str(store)), _find_mount(store)
    if known is not None and len(known) > len(now):
        return True
    if known != now:
        index.note_mounts({str(store): now})
    return False


def _find_mount(store: Path) -> str:
    """Where the file system is mounted that the store is on."""
    path = store.resolve()
    while not path.is_mount():
        path = path.parent
    return str(path)
