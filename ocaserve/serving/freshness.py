"""What a response is planned from was compared with the file system at most a second before.

Files in use are compared twice a second, in one batch for each store and by its threads: those that
were used since they were last compared, and those that responses hold. A file that was not used
meanwhile is compared before its next use: where the kernel can tell from memory, at once, else by a
thread. So what a comparison costs follows requests, never the number of open files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ocaserve.serving.files import compare, compare_cached
from ocaserve.serving.store import OpenFile, Store
from ocaserve.stores.folder import Folder

CURRENT_TICKS = 4  # a second: what was compared longer ago is not used
CHECK_TICKS = 2  # between two batches

Told = Callable[[bool], None]


class Freshness:
    """Compares; `drop` hears of each file that is no longer what its key leads to."""

    def __init__(self, drop: Callable[[OpenFile], None]) -> None:
        self._drop = drop
        self._confirming: dict[OpenFile, dict[object, Told]] = {}

    def refresh(self, file: OpenFile, tick: int) -> bool:
        """Compare it now, if that takes no disk and no server. Whether it is current."""
        store = file.store
        if store.folder is None or not store.is_local or not store.can_be_asked:
            return False
        if not compare_cached(store.folder, file):
            return False
        file.checked = tick
        return True

    def confirm(self, file: OpenFile, tick: int, told: Told) -> Callable[[], None]:
        """Have a thread compare it; `told` hears whether it is current. Returns how to forget."""
        waiters = self._confirming.get(file)
        if waiters is None:
            waiters = self._confirming[file] = {}
            folder = file.store.folder
            assert folder is not None, "a file is open, so its store was"
            file.store.known.submit(
                partial(compare, folder, file), partial(self._confirmed, file, tick)
            )
        ticket = object()
        waiters[ticket] = told
        return partial(_forget, waiters, ticket)

    def _confirmed(self, file: OpenFile, tick: int, outcome: object) -> None:
        waiters = self._confirming.pop(file)
        is_current = outcome is True and not file.dropped and not file.changed
        if is_current:
            file.checked = max(file.checked, tick)
        elif outcome is False or file.changed:
            self._drop(file)
        for told in waiters.values():
            told(is_current)

    def check(self, store: Store, tick: int) -> None:
        """Compare what is in use; called every CHECK_TICKS."""
        folder = store.folder
        if store.is_comparing or folder is None:
            return
        due = [
            file
            for file in store.used
            if file.used > file.checked and not file.dropped and file not in store.sending
        ]
        due += store.sending
        store.used.clear()
        if due:
            store.is_comparing = True
            store.known.submit(
                partial(_examine, folder, due), partial(self._examined, store, due, tick)
            )

    def _examined(
        self, store: Store, files: Sequence[OpenFile], tick: int, verdicts: object
    ) -> None:
        store.is_comparing = False
        if not isinstance(verdicts, list):
            return
        for file, (same, changed) in zip(files, verdicts, strict=True):
            file.changed = file.changed or changed
            if same:
                file.checked = max(file.checked, tick)
            elif same is False or changed:
                self._drop(file)


def _examine(folder: Folder, files: Sequence[OpenFile]) -> list[tuple[bool | None, bool]]:
    """(whether the path leads to this version, whether the open file was overwritten), for each."""
    return [(compare(folder, file), file.is_overwritten()) for file in files]


def _forget(waiters: dict[object, Told], ticket: object) -> None:
    waiters.pop(ticket, None)
