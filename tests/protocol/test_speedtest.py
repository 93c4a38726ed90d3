"""The speed test: what it sends, and what it takes."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.messages import ByteRange, Fields, Request, RequestRefused, ResponsePlan
from ocaserve.protocol.methods import body_length
from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.protocol.speedtest import (
    CONTENT_BYTES,
    MAX_UPLOAD_BYTES,
    STRETCH_BYTES,
    describe_content,
    fold_plan,
    make_stretch,
    takes_upload,
)
from ocaserve.protocol.target import parse_target


def test_content() -> None:
    """As long as clients expect, the same everywhere, and not to be compressed."""
    stretch = make_stretch()
    assert len(stretch) == STRETCH_BYTES
    assert stretch == make_stretch()
    assert len(zlib.compress(stretch)) > STRETCH_BYTES
    representation = describe_content(ResponsePolicy())
    assert representation.size == CONTENT_BYTES == 26_214_400
    assert b"Content-Type: application/octet-stream\r\n" in representation.typed_fields


POSITIONS = st.integers(0, 3 * STRETCH_BYTES)


@given(POSITIONS, POSITIONS)
def test_folding(one: int, other: int) -> None:
    """The same bytes as of a file that is as long as the content."""
    start, stop = sorted((one, other))
    folded = fold_plan(ResponsePlan(200, b"", (ByteRange(start, stop),), stop - start, True))
    position = start
    for segment in folded.segments:
        assert isinstance(segment, ByteRange)
        assert 0 <= segment.start < segment.stop <= STRETCH_BYTES
        assert segment.start == position % STRETCH_BYTES
        position += segment.stop - segment.start
    assert position == stop


def test_folding_leaves_text_as_it_is() -> None:
    """The delimiters of several parts."""
    plan = ResponsePlan(206, b"", (b"--x", ByteRange(0, 1), b"--x--"), 9, True)
    assert fold_plan(plan) == plan


@pytest.mark.parametrize(
    ("target", "takes"),
    [
        (b"/speedtest/range/0-0", True),
        (b"/speedtest", False),
        (b"/range/0-9/k", False),
        (b"/k", False),
    ],
)
def test_uploads(target: bytes, takes: bool) -> None:
    """Only where a client measures."""
    assert takes_upload(parse_target(target, has_speedtest=True)) is takes
    assert not takes_upload(parse_target(target))


def post(**fields: Any) -> Request:
    return Request(b"POST", b"/speedtest/range/0-0", 1, Fields(**fields), None)


def test_length_of_an_upload() -> None:
    """Known before; without a length there is no body (RFC 9112 section 6.3)."""
    assert body_length(post(), MAX_UPLOAD_BYTES) == 0
    assert body_length(post(content_length=0), MAX_UPLOAD_BYTES) == 0
    assert body_length(post(content_length=MAX_UPLOAD_BYTES), MAX_UPLOAD_BYTES) == MAX_UPLOAD_BYTES


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param(post(content_length=MAX_UPLOAD_BYTES + 1), 413, id="too_large"),
        pytest.param(post(has_transfer_encoding=True, has_body=True), 411, id="chunked"),
    ],
)
def test_upload_that_is_refused(asked: Request, status: int) -> None:
    """Its body is not read, so the connection ends."""
    with pytest.raises(RequestRefused) as caught:
        body_length(asked, MAX_UPLOAD_BYTES)
    assert (caught.value.status, caught.value.close) == (status, True)
