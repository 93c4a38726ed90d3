"""The directories of content."""

from __future__ import annotations

from msgspec import Struct

from ocaserve.control.state import ControlState
from ocaserve.control.wellness import Wellness
from ocaserve.stores import show_path


class StoreShown(Struct, frozen=True, kw_only=True):
    """A directory of content. `bytes`: what was sent from it since the start.

    `level`: ok, warning or error, as health has it; null before the first look. Room is null where
    nothing is to be written.
    """

    path: str
    bytes: int
    level: str | None
    reason: str
    free_bytes: int | None
    size_bytes: int | None


class Stores(Struct, frozen=True, kw_only=True):
    """`failed`: stores that a worker holds for failed, added up over the workers.

    free_bytes, size_bytes: of all disks together; one that two stores are on counts once.
    """

    stores: list[StoreShown]
    failed: int
    free_bytes: int
    size_bytes: int


def describe_stores(state: ControlState, wellness: Wellness) -> Stores:
    """How the stores are, and what was sent from each."""
    labelled = state.counters.labelled("store_bytes")
    sent = {show_path(path): count for path, count in labelled.items()}
    room = wellness.room()
    return Stores(
        stores=[
            StoreShown(
                path=store.path,
                bytes=sent.get(store.path, 0),
                level=None if store.level is None else store.level.label,
                reason=store.reason,
                free_bytes=store.free,
                size_bytes=store.total,
            )
            for store in wellness.stores()
        ],
        failed=state.counters.totals()["stores_failed"],
        free_bytes=room.free,
        size_bytes=room.total,
    )
