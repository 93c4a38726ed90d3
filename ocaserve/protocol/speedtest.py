"""The speed test: content that is made up, and uploads that are thrown away.

The content is as long as clients of an appliance expect, the same on every appliance, and beyond
the reach of compression: a stretch of pseudo-random bytes, repeated. Only one stretch exists, so
that the test costs a worker a mebibyte; what is to be sent is folded onto it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ocaserve.protocol.messages import (
    ByteRange,
    Representation,
    ResponsePlan,
)
from ocaserve.protocol.planning import ResponsePolicy, describe_representation
from ocaserve.protocol.target import ObjectTarget

CONTENT_BYTES = 26_214_400  # 25 MiB
STRETCH_BYTES = 1 << 20
MAX_UPLOAD_BYTES = CONTENT_BYTES  # of one request; a client that measures longer sends another

_SEED = b"ocaserve speed test"


def make_stretch() -> bytes:
    """The bytes of which the content consists."""
    return hashlib.shake_128(_SEED).digest(STRETCH_BYTES)


def describe_content(policy: ResponsePolicy) -> Representation:
    """What answers say of the content; it was never modified."""
    return describe_representation(CONTENT_BYTES, 0, b"application/octet-stream", policy)


def fold_plan(plan: ResponsePlan) -> ResponsePlan:
    """A plan for the content as one for the stretch that it repeats."""
    return plan._replace(segments=tuple(_fold(plan.segments)))


def _fold(segments: tuple[ByteRange | bytes, ...]) -> Iterator[ByteRange | bytes]:
    for segment in segments:
        if not isinstance(segment, ByteRange):
            yield segment
            continue
        position, stop = segment
        while position < stop:
            start = position % STRETCH_BYTES
            count = min(STRETCH_BYTES - start, stop - position)
            yield ByteRange(start, start + count)
            position += count


def takes_upload(target: ObjectTarget) -> bool:
    """Whether POST is allowed: for the parts of the speed test."""
    return target.is_speedtest and target.part is not None
