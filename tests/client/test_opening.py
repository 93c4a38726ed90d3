"""Heads of answers to ranges: what is taken, and of what a server is at fault."""

from __future__ import annotations

import pytest

from ocaserve.client.course import Fetch, Version
from ocaserve.client.opening import Opened, check_head, fields_for
from ocaserve.origins import Fault, SourceError

URL = "http://oca-1/film"
V1 = Version('"v1"', 5_000)
FIRST = Fetch(URL, 0, 1_000, None)
LATER = Fetch(URL, 1_000, 2_000, V1)
LAST = Fetch(URL, 4_000, 5_000, V1)


def fields(span: str, tag: str = '"v1"', **more: str) -> dict[str, str]:
    return {"Content-Range": f"bytes {span}", "ETag": tag, **more}


def test_request() -> None:
    """The rest of a version is asked for under the condition that it is that version."""
    assert fields_for(FIRST) == {"Range": "bytes=0-999", "Accept-Encoding": "identity"}
    assert fields_for(LATER) == {
        "Range": "bytes=1000-1999", "Accept-Encoding": "identity", "If-Range": '"v1"',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "status", "head", "opened"),
    [
        pytest.param(FIRST, 206, fields("0-999/5000"), Opened(V1, 1_000), id="first"),
        pytest.param(
            FIRST, 206, fields("0-99/100"), Opened(Version('"v1"', 100), 100), id="shorter"
        ),
        pytest.param(LATER, 206, fields("1000-1999/5000"), Opened(V1, 1_000), id="later"),
        pytest.param(LAST, 206, fields("4000-4999/5000"), Opened(V1, 1_000), id="last"),
        pytest.param(
            FIRST, 200, {"Content-Length": "5000", "ETag": '"v1"'}, Opened(V1, 5_000), id="whole"
        ),
        pytest.param(
            FIRST, 416, {"Content-Range": "bytes */0"}, Opened(Version("", 0), 0), id="empty"
        ),
        pytest.param(
            FIRST, 200, {"Content-Length": "0"}, Opened(Version("", 0), 0), id="empty_whole"
        ),
    ],
)
def test_right(wanted: Fetch, status: int, head: dict[str, str], opened: Opened) -> None:
    assert check_head(wanted, status, head) == opened


@pytest.mark.parametrize(
    ("wanted", "status", "head", "fault"),
    [
        pytest.param(FIRST, 403, {}, Fault.REFUSED, id="forbidden"),
        pytest.param(FIRST, 404, {}, Fault.ABSENT, id="absent"),
        pytest.param(FIRST, 503, {}, Fault.STATUS, id="unavailable"),
        pytest.param(FIRST, 302, {}, Fault.STATUS, id="redirect_to_nowhere"),
        pytest.param(FIRST, 206, fields("0-999/5000", "W/x"), Fault.UNTAGGED, id="weak"),
        pytest.param(
            FIRST, 206, {"Content-Range": "bytes 0-999/5000"}, Fault.UNTAGGED, id="no_tag"
        ),
        pytest.param(
            FIRST, 206, fields("0-999/5000", '"a\r\nX: b"'), Fault.UNTAGGED, id="tag_with_lines"
        ),
        pytest.param(FIRST, 200, {"ETag": '"v1"'}, Fault.WRONG_RANGE, id="no_length"),
        pytest.param(
            FIRST, 200, {"ETag": '"v1"', "Content-Length": "٣"}, Fault.WRONG_RANGE, id="odd_length"
        ),
        pytest.param(FIRST, 206, {"ETag": '"v1"'}, Fault.WRONG_RANGE, id="no_content_range"),
        pytest.param(FIRST, 206, fields("0-99/5000"), Fault.WRONG_RANGE, id="less"),
        pytest.param(FIRST, 206, fields("0-9999/50000"), Fault.WRONG_RANGE, id="more"),
        pytest.param(FIRST, 206, fields("1-1000/5000"), Fault.WRONG_RANGE, id="elsewhere"),
        pytest.param(FIRST, 206, fields("0-999/*"), Fault.WRONG_RANGE, id="size_unknown"),
        pytest.param(LATER, 416, fields("*/5000"), Fault.WRONG_RANGE, id="not_satisfiable"),
        pytest.param(LATER, 416, fields("*/0"), Fault.CHANGED, id="empty_now"),
        pytest.param(LATER, 206, fields("1000-1999/5000", '"v2"'), Fault.CHANGED, id="other_tag"),
        pytest.param(LATER, 206, fields("1000-1999/5001"), Fault.CHANGED, id="other_size"),
        pytest.param(
            LATER, 200, {"Content-Length": "5000", "ETag": '"v2"'}, Fault.CHANGED, id="if_range"
        ),
        pytest.param(
            LATER, 200, {"Content-Length": "5000", "ETag": '"v1"'}, Fault.NO_RANGE, id="no_range"
        ),
        pytest.param(
            FIRST, 206, fields("0-999/5000", **{"Content-Encoding": "gzip"}), Fault.ENCODED,
            id="encoded",
        ),
    ],
)  # fmt: skip
def test_at_fault(wanted: Fetch, status: int, head: dict[str, str], fault: Fault) -> None:
    with pytest.raises(SourceError) as caught:
        check_head(wanted, status, head)
    assert caught.value.fault is fault
    assert "\n" not in str(caught.value)
