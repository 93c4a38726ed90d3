"""The supervisor's end of a channel, when the child is gone."""

from __future__ import annotations

import json
import socket

import pytest

from ocaserve.channel import See
from ocaserve.supervisor.children import Channel


@pytest.mark.parametrize("is_deaf", [False, True], ids=["orders_read", "orders_unread"])
def test_last_words(is_deaf: bool) -> None:
    """What a child has said is heard after its end, whether it had read its orders or not."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours)
    assert channel.tell(See({}))
    if not is_deaf:
        assert theirs.recv(100)
    for number in range(3):
        theirs.send(json.dumps({"is": "noting", "value": number}).encode())
    theirs.close()
    heard = [channel.hear() for _ in range(4)]
    assert [said and json.loads(said)["value"] for said in heard] == [0, 1, 2, b""]
    assert channel.hear() == b""
    assert not channel.tell(See({}))
    channel.close()
