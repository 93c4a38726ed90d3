"""What a worker does with orders that make no sense: it says so, and obeys the next."""

from __future__ import annotations

import logging
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.serving.stance import Duty
from ocaserve.serving.worker import Worker


@pytest.mark.parametrize(
    "order",
    [
        b"not JSON", b"\xff\xfe", b"{}", b"[]", b"null", b'"drain"', b'{"do": "fly"}',
        b'{"do": "accept"}', b'{"do": "drain", "deadline_s": "soon"}', b'{"do": "drain"}',
        b'{"do": "duty", "word": 5, "is_fit": true, "turns_away": false}', b"x" * 60_000,
    ],
)  # fmt: skip
def test_order_that_makes_no_sense(order: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    stance = SimpleNamespace(draining=False, duty=Duty())
    worker = Worker.__new__(Worker)
    worker._name = "worker 0"
    worker._channel = ours
    worker._engine = cast(Any, SimpleNamespace(stance=stance))
    with theirs, ours:
        theirs.send(order)
        worker._on_order()
        assert len(caplog.records) == 1
        assert len(caplog.messages[0]) < 1500
        theirs.send(b'{"do": "duty", "word": "draining", "is_fit": false, "turns_away": true}')
        worker._on_order()
    assert stance.duty == Duty(b"draining", is_fit=False, turns_away=True)
