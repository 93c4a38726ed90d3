"""Targets of requests: which object is meant, if any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.target import ObjectTarget, parse_target


@pytest.mark.parametrize(
    ("target", "key", "query"),
    [
        pytest.param(b"/k", b"k", b"", id="name"),
        pytest.param(b"/a/b/c.mp4", b"a/b/c.mp4", b"", id="folders"),
        pytest.param(b"/k?a=b", b"k", b"a=b", id="query"),
        pytest.param(b"/k?", b"k", b"", id="empty_query"),
        pytest.param(b"/k?a?b/../%zz", b"k", b"a?b/../%zz", id="query_is_not_judged"),
        pytest.param(b"/a%20b", b"a b", b"", id="space"),
        pytest.param(b"/%C3%a9", b"\xc3\xa9", b"", id="utf8"),
        pytest.param(b"/%FF", b"\xff", b"", id="keys_are_bytes"),
        pytest.param(b"/%41%2e%6D", b"A.m", b"", id="needless_escapes"),
        pytest.param(b"/%252e%252E/%253f", b"%2e%2E/%3f", b"", id="decoded_once"),
        pytest.param(b"/a%3Fb", b"a?b", b"", id="question_mark_in_key"),
        pytest.param(b"/a%23b", b"a#b", b"", id="number_sign_in_key"),
        pytest.param(b"/a+b", b"a+b", b"", id="plus_is_no_space"),
        pytest.param(b"/a;v=1/b,c:@!$&'()*~", b"a;v=1/b,c:@!$&'()*~", b"", id="all_of_pchar"),
        pytest.param(b"/a..b/c.", b"a..b/c.", b"", id="dots_inside"),
        pytest.param(b"/" + b"k" * 255, b"k" * 255, b"", id="longest_name"),
        pytest.param(
            b"/" + b"k" * 200 + b"/" + b"k" * 200, b"k" * 200 + b"/" + b"k" * 200, b"", id="long"
        ),
    ],
)  # fmt: skip
def test_target_that_names_an_object(target: bytes, key: bytes, query: bytes) -> None:
    """Decoded once, and only the path."""
    assert parse_target(target) == ObjectTarget(key, query)


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        pytest.param(b"", 400, "target_form", id="empty"),
        pytest.param(b"*", 400, "target_form", id="asterisk"),
        pytest.param(b"k", 400, "target_form", id="no_slash"),
        pytest.param(b"?k", 400, "target_form", id="query_alone"),
        pytest.param(b"/a%", 400, "target_escape", id="escape_cut"),
        pytest.param(b"/a%4", 400, "target_escape", id="escape_cut_in_two"),
        pytest.param(b"/%zz", 400, "target_escape", id="escape_no_hex"),
        pytest.param(b"/%u002e", 400, "target_escape", id="escape_of_iis"),
        # Traversal: CVE-2021-41773 (Apache), CVE-2024-23334 (aiohttp), CVE-2023-29159 (Starlette).
        pytest.param(b"/..", 400, "target_dot_segment", id="parent"),
        pytest.param(b"/../etc/passwd", 400, "target_dot_segment", id="out"),
        pytest.param(b"/a/../../b", 400, "target_dot_segment", id="out_from_below"),
        pytest.param(b"/a/..", 400, "target_dot_segment", id="parent_at_end"),
        pytest.param(b"/./a", 400, "target_dot_segment", id="self"),
        pytest.param(b"/a/.", 400, "target_dot_segment", id="self_at_end"),
        pytest.param(b"/.%2e/a", 400, "target_dot_segment", id="half_encoded"),
        pytest.param(b"/%2E%2e/a", 400, "target_dot_segment", id="encoded"),
        pytest.param(b"/a/%2e", 400, "target_dot_segment", id="encoded_self"),
        pytest.param(b"/../store-sibling/k", 400, "target_dot_segment", id="sibling_directory"),
        # Encoded slashes: CVE-2022-35920 (Sanic) and Caddy's of 2026.
        pytest.param(b"/a%2fb", 400, "target_encoded_slash", id="slash"),
        pytest.param(b"/a%2Fb", 400, "target_encoded_slash", id="slash_in_upper_case"),
        pytest.param(b"/..%2f..%2fetc", 400, "target_encoded_slash", id="slash_and_dots"),
        pytest.param(b"/%2f", 400, "target_encoded_slash", id="slash_alone"),
        pytest.param(b"/a%00", 400, "target_characters", id="nul"),
        pytest.param(b"/a%0d%0aX:b", 400, "target_characters", id="line_end"),
        pytest.param(b"/a%7f", 400, "target_characters", id="del"),
        pytest.param(b"/..\\..\\a", 400, "target_characters", id="backslash"),
        pytest.param(b"/a%5cb", 400, "target_characters", id="encoded_backslash"),
        pytest.param(b"//a", 400, "target_empty_segment", id="two_slashes"),
        pytest.param(b"/a//b", 400, "target_empty_segment", id="two_slashes_inside"),
        pytest.param(b"/a//", 400, "target_empty_segment", id="two_slashes_at_end"),
        pytest.param(b"/", 404, "target_names_no_object", id="root"),
        pytest.param(b"/a/", 404, "target_names_no_object", id="trailing_slash"),
        pytest.param(b"/.hidden", 404, "target_names_no_object", id="hidden"),
        pytest.param(b"/a/.git/config", 404, "target_names_no_object", id="hidden_folder"),
        pytest.param(b"/%2ehidden", 404, "target_names_no_object", id="hidden_encoded"),
        pytest.param(b"/...", 404, "target_names_no_object", id="three_dots"),
        pytest.param(b"/" + b"k" * 256, 404, "target_names_no_object", id="name_too_long"),
        pytest.param(b"/%41" + b"k" * 255, 404, "target_names_no_object", id="long_when_decoded"),
    ],
)  # fmt: skip
def test_target_that_is_refused(target: bytes, status: int, reason: str) -> None:
    """400 for what no honest client sends; the connection is in order all the same."""
    with pytest.raises(RequestRefused) as caught:
        parse_target(target)
    refused = caught.value
    assert (refused.status, refused.reason, refused.close) == (status, reason, False)


PIECES = st.sampled_from(
    [b"/", b".", b"..", b"%2e", b"%2f", b"%", b"%25", b"\\", b"a", b"k.mp4", b"?", b"%00", b"%C3"]
)
TARGETS = st.lists(PIECES, max_size=8).map(lambda pieces: b"/" + b"".join(pieces))


@given(TARGETS)
def test_key_stays_below_the_store(target: bytes) -> None:
    """Whatever is asked, a key is a path that goes down, and hidden nowhere."""
    try:
        key = parse_target(target).key
    except RequestRefused:
        return
    for name in key.split(b"/"):
        assert 0 < len(name) <= 255
        assert not name.startswith(b".")
        assert b"\0" not in name
        assert b"\\" not in name


@given(st.binary(min_size=1, max_size=60))
def test_any_honest_key_can_be_asked_for(name: bytes) -> None:
    """Each byte escaped is the same key, unless that key is no object's."""
    target = b"/" + b"".join(b"%%%02X" % byte for byte in name)
    forbidden = any(byte < 0x20 or byte in b"\x7f\\/" for byte in name)
    if forbidden or name.startswith(b"."):
        with pytest.raises(RequestRefused):
            parse_target(target)
    else:
        assert parse_target(target).key == name
