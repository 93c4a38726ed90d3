"""Which objects are here, by place."""

from __future__ import annotations

from base64 import b64decode

from ocaserve.fill.holdings import HoldingsMap


def test_places() -> None:
    """As a comparison has found them, and as they come; each change has another stamp."""
    held = HoldingsMap()
    assert held.stamp == ""
    held.replace("v1", 10, [0, 9], {"id": 3})
    first = held.stamp
    assert first
    assert b64decode(held.show().here) == bytes([1, 2])
    held.replace("v1", 10, [0, 9], {"id": 3})
    assert held.stamp == first
    held.add("unknown")
    assert held.stamp == first
    held.add("id")
    assert held.stamp != first
    assert b64decode(held.show().here) == bytes([9, 2])
    held.replace("v2", 0, [], {})
    assert (held.show().manifest, held.show().here) == ("v2", "")
