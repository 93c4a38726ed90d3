"""Names of queues and messages go into URLs, keys and labels: nothing else gets in by an end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ocaserve.queue.model import MessageId, QueueName


@pytest.mark.parametrize("shape", [MessageId, QueueName])
@pytest.mark.parametrize("name", ["", "a\n", "a b", "a\0", "{a}", "a" * 129])
def test_refused(shape: Any, name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, shape)


@pytest.mark.parametrize("shape", [MessageId, QueueName])
def test_taken(shape: Any) -> None:
    assert msgspec.convert("encode-1.new_2", shape) == "encode-1.new_2"
