"""Inflating a body never makes more than may be."""

from __future__ import annotations

import gzip

import pytest

from ocaserve.control.bodies import inflate
from ocaserve.control.problems import Problem

PLAIN = b'{"reason": "' + b"x" * 500 + b'"}'
PACKED = gzip.compress(PLAIN)


def test_inflate() -> None:
    assert inflate(PACKED, len(PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("data", "most", "status"),
    [
        pytest.param(PACKED, len(PLAIN) - 1, 413, id="one-more"),
        pytest.param(gzip.compress(bytes(50 << 20)), 1000, 413, id="bomb"),
        pytest.param(PACKED[:-1], 1000, 400, id="cut"),
        pytest.param(PACKED + PACKED, 1000, 400, id="two-members"),
        pytest.param(PACKED + b"x", 1000, 400, id="more-behind"),
        pytest.param(b"plain", 1000, 400, id="plain"),
    ],
)
def test_refused(data: bytes, most: int, status: int) -> None:
    with pytest.raises(Problem) as refused:
        inflate(data, most)
    assert refused.value.status == status
