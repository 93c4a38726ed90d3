"""`[queue]`: the delay queue of the appliance, and of all that share one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Struct

from ocaserve.findings import Finding
from ocaserve.queue.engines import find_engine_fault
from ocaserve.schema import number, secret


class QueueSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Queues of any name, at `/v1/queues`."""

    engine: Annotated[
        str,
        secret(
            'a URL: "sqlite:///PATH", "redis://HOST:PORT/DB", "rediss://…" with TLS, '
            '"redis+sentinel://HOST:PORT/MASTER" or "redis+cluster://HOST:PORT"',
            "where messages are kept; machines that share work name one server. Empty is "
            "`queue.db` in `appliance.state_directory`; without that too, it lasts as long as the "
            "appliance",
        ),
    ] = ""
    retained_bytes: Annotated[
        int,
        number(
            "bytes", 1 << 20, 1 << 44,
            "of bodies that one queue may hold; more is refused, and the producer hears it",
        ),
    ] = 1 << 30  # fmt: skip
    body_bytes: Annotated[
        int,
        number(
            "bytes", 64, 64 << 20,
            "of one body: a message says what is to be done, and is not what it is done with",
        ),
    ] = 256 * 1024  # fmt: skip


def find_queue_faults(queue: QueueSettings) -> Iterator[Finding]:
    """What single values do not show. The URL may hold a password: it is not repeated."""
    if queue.engine and (fault := find_engine_fault(queue.engine)):
        yield Finding("queue.engine", fault)
