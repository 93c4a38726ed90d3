"""The operations of the SQLite engine, each on an open transaction. Milliseconds since the epoch.

Rows move between states by the table of `states`; every move is counted in the row of the queue, so
that sizes cost the same with a million messages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec import Raw

from ocaserve.queue.model import (
    NO_RECEIPT,
    NOT_HELD,
    Acked,
    Bounds,
    Delivery,
    Kept,
    Message,
    QueueFullError,
    Refused,
    ShardSizes,
    full_text,
    new_id,
    read_receipt,
    receipt_of,
    there,
    unknown,
    wrong_state,
)
from ocaserve.queue.states import MessageEvent, MessageState, after, sources_of

_SLICE = 1_000  # rows that are moved by one statement

_COLUMN = {state: state.label for state in MessageState}


def find_queue(db: sqlite3.Connection, name: str) -> int | None:
    """Its number; None before its first message."""
    row = db.execute("SELECT number FROM queue WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def _make_queue(db: sqlite3.Connection, name: str) -> int:
    db.execute("INSERT INTO queue (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    found = find_queue(db, name)
    assert found is not None
    return found


def list_names(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT name FROM queue ORDER BY name")]


# -- moving --------------------------------------------------------------------------------------


def _count(
    db: sqlite3.Connection,
    queue: int,
    source: MessageState,
    target: MessageState | None,
    moved: int = 1,
) -> None:
    """Note that messages went from a state to another, or away."""
    change = {_COLUMN[source]: -moved}
    if target is not None:
        change[_COLUMN[target]] = change.get(_COLUMN[target], 0) + moved
    _add(db, queue, change)


def _add(db: sqlite3.Connection, queue: int, changes: dict[str, int]) -> None:
    parts = [f"{column} = {column} + {n}" for column, n in changes.items() if n]
    if parts:  # columns are ours, and numbers are numbers
        db.execute(f"UPDATE queue SET {', '.join(parts)} WHERE number = ?", (queue,))  # noqa: S608


def promote(db: sqlite3.Connection, queue: int, now: int) -> None:
    """Make ready what is due, and take back what was held for too long.

    All of it: one that is left behind may be more urgent than those that are taken.
    """
    while _make_due(db, queue, now) == _SLICE:
        pass
    while _take_back(db, queue, now) == _SLICE:
        pass


def _make_due(db: sqlite3.Connection, queue: int, now: int) -> int:
    moved = db.execute(
        "UPDATE message SET state = 0 WHERE seq IN (SELECT seq FROM message WHERE queue = ? "
        "AND state = 1 AND at <= ? ORDER BY at LIMIT ?)",
        (queue, now, _SLICE),
    ).rowcount
    target = after(MessageState.DELAYED, MessageEvent.DUE)
    _count(db, queue, MessageState.DELAYED, target, moved)
    return moved


def _take_back(db: sqlite3.Connection, queue: int, now: int) -> int:
    rows = db.execute(
        "SELECT seq, tries, max_tries FROM message WHERE queue = ? AND state = 2 AND at <= ? "
        "ORDER BY at LIMIT ?",
        (queue, now, _SLICE),
    ).fetchall()
    for seq, tries, most in rows:
        _give_back(db, queue, seq, (tries, most), now, now, "was held for longer than asked for")
    return len(rows)


def _give_back(
    db: sqlite3.Connection,
    queue: int,
    seq: int,
    tries: tuple[int, int],
    at: int,
    now: int,
    reason: str,
) -> None:
    """A held one is ready or delayed again; or buried, if its tries are used up."""
    used, most = tries
    if used >= most:
        _bury(db, queue, seq, now, f"tried {used} times; last: {reason}".removesuffix("; last: "))
        return
    event = MessageEvent.DEFER if at > now else MessageEvent.RELEASE
    target = after(MessageState.HELD, event)
    assert target is not None
    db.execute(
        "UPDATE message SET state = ?, at = ?, reason = ? WHERE seq = ?", (target, at, reason, seq)
    )
    _count(db, queue, MessageState.HELD, target)
    _add(db, queue, {"redelivered": 1})


def _bury(db: sqlite3.Connection, queue: int, seq: int, now: int, reason: str) -> None:
    db.execute("UPDATE message SET state = 3, at = ?, reason = ? WHERE seq = ?", (now, reason, seq))
    _count(db, queue, MessageState.HELD, MessageState.BURIED)
    _add(db, queue, {"buried_total": 1})


# -- pushing -------------------------------------------------------------------------------------


def push(
    db: sqlite3.Connection,
    name: str,
    messages: Sequence[Message],
    bounds: Bounds,
    now: int,
    *,
    must_be_new: bool,
) -> list[str]:
    """Names of all. Raises MessageThereError, QueueFullError; the caller rolls back."""
    queue = _make_queue(db, name)
    ids: list[str] = []
    added = 0
    moved = {MessageState.READY: 0, MessageState.DELAYED: 0}
    for message in messages:
        message_id = message.id or new_id()
        at = now + round(message.delay_s * 1000)
        state = MessageState.DELAYED if at > now else MessageState.READY
        is_new = db.execute(
            "INSERT INTO message (queue, id, state, priority, at, max_tries, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                queue,
                message_id,
                state,
                message.priority,
                at,
                message.max_tries,
                bytes(message.body),
            ),
        ).rowcount
        if is_new:
            moved[state] += 1
            added += len(bytes(message.body))
        elif must_be_new:
            raise there(name, message_id)
        ids.append(message_id)
    held = db.execute("SELECT bytes FROM queue WHERE number = ?", (queue,)).fetchone()[0]
    if added and held + added > bounds.bytes:
        raise QueueFullError(full_text(name, held, added, bounds))
    _add(db, queue, {**{_COLUMN[state]: n for state, n in moved.items()}, "bytes": added})
    return ids


# -- consuming -----------------------------------------------------------------------------------


def pop(db: sqlite3.Connection, name: str, n: int, hold_ms: int, now: int) -> list[Delivery]:
    """Up to `n` of those that are due, the most urgent first."""
    queue = find_queue(db, name)
    if queue is None:
        return []
    promote(db, queue, now)
    rows = db.execute(
        "SELECT seq, id, body, priority, tries + 1 FROM message INDEXED BY message_ready "
        "WHERE queue = ? AND state = 0 ORDER BY priority, at, seq LIMIT ?",
        (queue, n),
    ).fetchall()
    if not rows:
        return []
    db.executemany(
        "UPDATE message SET state = 2, at = ?, tries = tries + 1 WHERE seq = ?",
        [(now + hold_ms, row[0]) for row in rows],
    )
    _count(db, queue, MessageState.READY, after(MessageState.READY, MessageEvent.POP), len(rows))
    return [
        Delivery(
            id=message_id, receipt=receipt_of(message_id, tries), body=Raw(body),
            priority=priority, tries=tries,
        )
        for _, message_id, body, priority, tries in rows
    ]  # fmt: skip


def next_change(db: sqlite3.Connection, name: str) -> int | None:
    """When a message becomes ready by itself: milliseconds since the epoch."""
    times = [
        db.execute(
            f"SELECT min(at) FROM message WHERE queue = "  # noqa: S608 - a number of ours
            f"(SELECT number FROM queue WHERE name = ?) AND state = {int(state)}",
            (name,),
        ).fetchone()[0]
        for state in (MessageState.DELAYED, MessageState.HELD)
    ]
    return min((at for at in times if at is not None), default=None)


def _find_held(
    db: sqlite3.Connection, name: str, receipt: str
) -> tuple[int, int, int, int, int] | Refused:
    """Queue, row, tries, most tries and bytes of what a receipt is good for."""
    read = read_receipt(receipt)
    if read is None:
        return Refused(receipt=receipt, why=NO_RECEIPT)
    row = db.execute(
        "SELECT queue, seq, tries, max_tries, length(body) FROM message WHERE queue = "
        "(SELECT number FROM queue WHERE name = ?) AND id = ? AND state = 2 AND tries = ?",
        (name, *read),
    ).fetchone()
    return row or Refused(receipt=receipt, why=NOT_HELD)


def ack(db: sqlite3.Connection, name: str, receipts: Sequence[str]) -> Acked:
    refused: list[Refused] = []
    acked = size = 0
    queue = find_queue(db, name)
    for receipt in receipts:
        read = read_receipt(receipt)
        if read is None:
            refused.append(Refused(receipt=receipt, why=NO_RECEIPT))
            continue
        gone = db.execute(
            "DELETE FROM message WHERE queue = ? AND id = ? AND state = 2 AND tries = ? "
            "RETURNING length(body)",
            (queue, *read),
        ).fetchall()
        if gone:
            acked += 1
            size += gone[0][0]
        else:
            refused.append(Refused(receipt=receipt, why=NOT_HELD))
    if acked:
        assert queue is not None
        _count(db, queue, MessageState.HELD, after(MessageState.HELD, MessageEvent.ACK), acked)
        _add(db, queue, {"bytes": -size})
    return Acked(acked=acked, refused=refused)


def extend(db: sqlite3.Connection, name: str, receipt: str, until: int) -> Refused | None:
    found = _find_held(db, name, receipt)
    if isinstance(found, Refused):
        return found
    db.execute("UPDATE message SET at = ? WHERE seq = ?", (until, found[1]))
    return None


def release(
    db: sqlite3.Connection, name: str, receipt: str, delay_ms: int, reason: str, now: int
) -> Refused | None:
    found = _find_held(db, name, receipt)
    if isinstance(found, Refused):
        return found
    queue, seq, tries, most, _ = found
    _give_back(db, queue, seq, (tries, most), now + delay_ms, now, reason)
    return None


def bury(db: sqlite3.Connection, name: str, receipt: str, reason: str, now: int) -> Refused | None:
    found = _find_held(db, name, receipt)
    if isinstance(found, Refused):
        return found
    _bury(db, found[0], found[1], now, reason)
    return None


# -- operating -----------------------------------------------------------------------------------


def kick(db: sqlite3.Connection, name: str, n: int, now: int) -> int:
    queue = find_queue(db, name)
    if queue is None:
        return 0
    moved = db.execute(
        "UPDATE message SET state = 0, at = ?, tries = 0, reason = '' WHERE seq IN (SELECT seq "
        "FROM message WHERE queue = ? AND state = 3 ORDER BY at, seq LIMIT ?)",
        (now, queue, n),
    ).rowcount
    _count(db, queue, MessageState.BURIED, after(MessageState.BURIED, MessageEvent.KICK), moved)
    return moved


def _find(
    db: sqlite3.Connection, name: str, message_id: str, events: tuple[MessageEvent, ...]
) -> tuple[int, int, MessageState, int]:
    """Queue, row, state and bytes of a message to which one of the events may happen."""
    row = db.execute(
        "SELECT queue, seq, state, length(body) FROM message WHERE queue = "
        "(SELECT number FROM queue WHERE name = ?) AND id = ?",
        (name, message_id),
    ).fetchone()
    if row is None:
        raise unknown(name, message_id)
    state = MessageState(row[2])
    allowed = {source for event in events for source in sources_of(event)}
    if state not in allowed:
        raise wrong_state(message_id, state.label, allowed)
    return row[0], row[1], state, row[3]


def kick_one(db: sqlite3.Connection, name: str, message_id: str, now: int) -> None:
    queue, seq, state, _ = _find(db, name, message_id, (MessageEvent.KICK,))
    db.execute(
        "UPDATE message SET state = 0, at = ?, tries = 0, reason = '' WHERE seq = ?", (now, seq)
    )
    _count(db, queue, state, after(state, MessageEvent.KICK))


def retime(db: sqlite3.Connection, name: str, message_id: str, delay_ms: int, now: int) -> None:
    event = MessageEvent.POSTPONE if delay_ms else MessageEvent.HASTEN
    queue, seq, state, _ = _find(db, name, message_id, (event,))
    target = after(state, event)
    db.execute("UPDATE message SET state = ?, at = ? WHERE seq = ?", (target, now + delay_ms, seq))
    _count(db, queue, state, target)


def remove(db: sqlite3.Connection, name: str, message_id: str) -> None:
    queue, seq, state, size = _find(db, name, message_id, (MessageEvent.REMOVE,))
    db.execute("DELETE FROM message WHERE seq = ?", (seq,))
    _count(db, queue, state, after(state, MessageEvent.REMOVE))
    _add(db, queue, {"bytes": -size})


_ORDER = {
    MessageState.READY: "priority, at, seq",
    MessageState.DELAYED: "at, seq",
    MessageState.HELD: "at, seq",
    MessageState.BURIED: "at, seq",
}


def peek(db: sqlite3.Connection, name: str, state: MessageState, n: int, now: int) -> list[Kept]:
    queue = find_queue(db, name)
    if queue is None:
        return []
    promote(db, queue, now)
    rows = db.execute(
        f"SELECT id, body, priority, tries, max_tries, at, reason FROM message "  # noqa: S608
        f"WHERE queue = ? AND state = {int(state)} ORDER BY {_ORDER[state]} LIMIT ?",
        (queue, n),
    )
    has_due = state in (MessageState.DELAYED, MessageState.HELD)
    return [
        Kept(
            id=message_id, state=state.label, body=Raw(body), priority=priority, tries=tries,
            max_tries=most, due=at / 1000 if has_due else None, reason=reason,
        )
        for message_id, body, priority, tries, most, at, reason in rows
    ]  # fmt: skip


_OLDEST = """
WITH RECURSIVE step (priority) AS (
  SELECT min(priority) FROM message INDEXED BY message_ready WHERE queue = :queue AND state = 0
  UNION ALL
  SELECT (
    SELECT min(priority) FROM message INDEXED BY message_ready
    WHERE queue = :queue AND state = 0 AND priority > step.priority
  ) FROM step WHERE step.priority IS NOT NULL
)
SELECT min((
  SELECT min(at) FROM message INDEXED BY message_ready
  WHERE queue = :queue AND state = 0 AND priority = step.priority
)) FROM step
"""
"""Within a priority the oldest stands first, so one look at each is enough, and pushing and popping
do without an index more.
"""


def sizes(db: sqlite3.Connection, name: str, now: int) -> ShardSizes | None:
    """None for a queue that is not there."""
    queue = find_queue(db, name)
    if queue is None:
        return None
    promote(db, queue, now)
    row = db.execute(
        "SELECT ready, delayed, held, buried, bytes, redelivered, buried_total FROM queue "
        "WHERE number = ?",
        (queue,),
    ).fetchone()
    oldest = db.execute(_OLDEST, {"queue": queue}).fetchone()[0]
    ready, delayed, held, buried, size, redelivered, buried_total = row
    return ShardSizes(
        ready=ready, delayed=delayed, held=held, buried=buried,
        oldest_ready_s=None if oldest is None else max(0.0, (now - oldest) / 1000),
        bytes=size, redelivered=redelivered, buried_total=buried_total,
    )  # fmt: skip
