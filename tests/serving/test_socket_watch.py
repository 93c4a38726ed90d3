"""What the kernel is told of a connection's wishes, and who hears of its news."""

from __future__ import annotations

from typing import Any

from ocaserve.serving.readiness import READ, WRITE, Watched
from ocaserve.serving.socket_watch import SocketWatch


class Told:
    """Readiness, as far as it is told something."""

    def __init__(self) -> None:
        self.changes: list[tuple[object, int, int]] = []

    def change(self, _: int, watched: Watched, before: int, after: int) -> None:
        self.changes.append((watched, before, after))

    def call_after_batches(self, function: Any) -> None:
        raise AssertionError(function)


class Hearing:
    """Somebody who could be told."""

    def on_ready(self, events: int) -> None:
        raise AssertionError(events)

    def contain(self, defect: Exception, /) -> None:
        raise defect


def test_only_what_changes_is_told() -> None:
    told, reader, writer = Told(), Hearing(), Hearing()
    watch = SocketWatch(told, 7, reader)
    watch.writer = writer
    watch.want_read(wanted=True)
    watch.want_read(wanted=True)
    watch.want_write(wanted=False)
    watch.want_write(wanted=True)
    watch.want_read(wanted=False)
    watch.want_write(wanted=False)
    assert told.changes == [
        (reader, 0, READ), (writer, READ, READ | WRITE), (writer, READ | WRITE, WRITE),
        (reader, WRITE, 0),
    ]  # fmt: skip


def test_nothing_is_watched_at_the_end() -> None:
    told = Told()
    watch = SocketWatch(told, 7, Hearing())
    watch.want_read(wanted=True)
    watch.stop()
    watch.stop()
    assert [after for _, _, after in told.changes] == [READ, 0]
