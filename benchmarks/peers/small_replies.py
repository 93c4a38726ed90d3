"""This server with an answerer of its own: 500 bytes of JSON, made anew for each request.

Argument: the configuration file.
"""

from __future__ import annotations

import sys
from functools import partial

import msgspec

from ocaserve.control.process import control_service
from ocaserve.metrics import CounterSlot
from ocaserve.serving.answerer import Answerer
from ocaserve.serving.counters import COUNTERS, GAUGES
from ocaserve.serving.engine import Engine
from ocaserve.serving.healthz import Healthz
from ocaserve.serving.replies import Inquiry, Replies, Reply
from ocaserve.serving.worker import run_worker
from ocaserve.settings import Settings, load_settings
from ocaserve.supervisor import Supervisor

REPLY_BYTES = 500
_FIELDS = b"Content-Type: application/json\r\nCache-Control: no-store\r\n"
_encode = msgspec.json.Encoder().encode


def decide(inquiry: Inquiry) -> Reply:
    """What was asked for and by whom, and a filling."""
    said = {"target": inquiry.target.decode(), "client": inquiry.address.decode(), "filling": ""}
    body = _encode(said)
    return Reply(200, _FIELDS, body[:-2] + b"x" * (REPLY_BYTES - len(body)) + body[-2:])


def _make_answerer(_: Settings, __: CounterSlot, engine: Engine) -> Answerer:
    replies = Replies(decide, engine.clock)
    return Healthz(engine.stance, engine.policy, engine.clock, replies)


def main(file: str) -> None:
    """Serve until a signal ends it."""

    def load() -> tuple[Settings, list[str]]:
        return load_settings(file), []

    Supervisor(
        load()[0],
        partial(run_worker, make_answerer=_make_answerer),
        names=(COUNTERS, GAUGES),
        services=(control_service(),),
        labels=lambda _: {},
        load=load,
        arguments=sys.argv[1:],
    ).run()


if __name__ == "__main__":
    main(sys.argv[1])
