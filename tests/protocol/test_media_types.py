"""The media type of an object."""

from __future__ import annotations

import pytest

from ocaserve.protocol.media_types import _TYPES, OCTET_STREAM, content_type_for


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        pytest.param(b"a.mp4", b"video/mp4", id="mp4"),
        pytest.param(b"a/b/c.m4s", b"video/iso.segment", id="segment"),
        pytest.param(b"live.m3u8", b"application/vnd.apple.mpegurl", id="hls_playlist"),
        pytest.param(b"live.mpd", b"application/dash+xml", id="dash_manifest"),
        pytest.param(b"a.ts", b"video/mp2t", id="transport_stream"),
        pytest.param(b"a.vtt", b"text/vtt; charset=utf-8", id="subtitles"),
        pytest.param(b"A.MP4", b"video/mp4", id="endings_have_no_case"),
        pytest.param(b"a.tar.mp4", b"video/mp4", id="last_ending"),
        pytest.param(b"a.mp4.part", OCTET_STREAM, id="last_ending_unknown"),
        pytest.param(b"a", OCTET_STREAM, id="no_ending"),
        pytest.param(b"mp4", OCTET_STREAM, id="name_like_an_ending"),
        pytest.param(b"a.", OCTET_STREAM, id="empty_ending"),
        pytest.param(b"a.mp4/b", OCTET_STREAM, id="ending_of_a_folder"),
        pytest.param(b"\xff.mp4", b"video/mp4", id="name_not_utf8"),
    ],
)
def test_content_type(key: bytes, content_type: bytes) -> None:
    """By the ending of the name alone."""
    assert content_type_for(key) == content_type


def test_table_is_of_endings_in_lower_case() -> None:
    """Others would never be found."""
    assert all(ending == ending.lower() and b"." not in ending for ending in _TYPES)
