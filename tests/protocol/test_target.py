"""Targets of requests: which object is meant, if any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.messages import ByteRange, RequestRefused
from ocaserve.protocol.target import (
    ObjectTarget,
    is_plain_key,
    parameter_values,
    parse_target,
)


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


FILM = b"film/1.mp4"


@pytest.mark.parametrize(
    ("target", "key", "part"),
    [
        pytest.param(b"/range/0-9/film/1.mp4", FILM, (0, 10), id="part"),
        pytest.param(b"/range/7-7/film/1.mp4", FILM, (7, 8), id="part_of_one_byte"),
        pytest.param(b"/range/007-0009/film/1.mp4", FILM, (7, 10), id="leading_zeros"),
        pytest.param(b"/range/0-9/film/1.mp4?o=other&x", FILM, (0, 10), id="path_outranks_query"),
        pytest.param(b"/range/0-9?o=film/1.mp4", FILM, (0, 10), id="part_by_query"),
        pytest.param(b"/range/0-9?v=1&o=film%2F1.mp4&t=2", FILM, (0, 10), id="among_others"),
        pytest.param(b"/?o=film/1.mp4", FILM, None, id="query"),
        pytest.param(b"/?o=film%2f1%2Emp4", FILM, None, id="query_escaped"),
        pytest.param(b"/?o=a?b", b"a?b", None, id="query_with_question_mark"),
        pytest.param(b"/?o=a+b", b"a+b", None, id="query_plus_is_no_space"),
        pytest.param(b"/?o=a%26b=%3D", b"a&b==", None, id="query_with_delimiters"),
        pytest.param(b"/?o=%252e%252e", b"%2e%2e", None, id="query_decoded_once"),
        pytest.param(b"/?oo=1&o=k&O=2&o", b"k", None, id="only_o"),
        pytest.param(b"/%72ange/0%2D9/k", b"k", (0, 10), id="form_escaped_needlessly"),
        pytest.param(
            b"/range/" + b"9" * 30 + b"-" + b"9" * 40 + b"/k", b"k", (10**19, 10**19 + 1),
            id="beyond_every_file",
        ),
        # What looks like a form and is none; a query reaches what looks like one.
        pytest.param(b"/range", b"range", None, id="key_range"),
        pytest.param(b"/range/1.mp4", b"range/1.mp4", None, id="key_below_range"),
        pytest.param(b"/range/a-b/1.mp4", b"range/a-b/1.mp4", None, id="key_with_hyphen"),
        pytest.param(b"/range/12/1.mp4", b"range/12/1.mp4", None, id="key_with_number"),
        pytest.param(b"/range/0-9", b"range/0-9", None, id="part_of_nothing"),
        pytest.param(b"/ranges/0-9/k", b"ranges/0-9/k", None, id="other_word"),
        pytest.param(b"/a/range/0-9/k", b"a/range/0-9/k", None, id="not_at_the_start"),
        pytest.param(b"/?o=range/0-9/k", b"range/0-9/k", None, id="query_is_no_form"),
        pytest.param(b"/range/0-9?o=range/1-2/k", b"range/1-2/k", (0, 10), id="one_form"),
        pytest.param(b"/range/0-9/range/1-2/k", b"range/1-2/k", (0, 10), id="one_form_of_path"),
        pytest.param(b"/k?o=other", b"k", None, id="query_beside_a_key"),
    ],
)  # fmt: skip
def test_form(target: bytes, key: bytes, part: tuple[int, int] | None) -> None:
    """The object and the part that the appliance's own forms name."""
    found = parse_target(target)
    assert (found.key, found.part, found.is_speedtest) == (key, part, False)
    assert found.query == target.partition(b"?")[2]


@pytest.mark.parametrize(
    ("target", "part"),
    [
        pytest.param(b"/speedtest", None, id="whole"),
        pytest.param(b"/speedtest?c=de&n=3320", None, id="whole_with_query"),
        pytest.param(b"/speedtest/range/0-2048", ByteRange(0, 2049), id="part"),
        pytest.param(b"/speedtest/range/5-9?v=1", ByteRange(5, 10), id="part_with_query"),
    ],
)
def test_speedtest(target: bytes, part: ByteRange | None) -> None:
    """Where it is offered; elsewhere these are keys."""
    path, _, query = target.partition(b"?")
    on = parse_target(target, has_speedtest=True)
    assert on == ObjectTarget(b"speedtest", query, part, True)
    assert parse_target(target) == ObjectTarget(path[1:], query)


@pytest.mark.parametrize(
    "target",
    [b"/speedtest/range", b"/speedtest/x", b"/speedtest/range/0-9/k", b"/speedtest.bin"],
)
def test_keys_beside_the_speedtest(target: bytes) -> None:
    """What is not the form is a key."""
    assert parse_target(target, has_speedtest=True) == ObjectTarget(target[1:], b"")
    by_query = parse_target(b"/?o=speedtest", has_speedtest=True)
    assert by_query == ObjectTarget(b"speedtest", b"o=speedtest")


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        pytest.param(b"/range/9-5/k", 400, "target_part", id="part_backwards"),
        pytest.param(b"/range/5-/k", 400, "target_part", id="part_open"),
        pytest.param(b"/range/-5/k", 400, "target_part", id="part_suffix"),
        pytest.param(b"/range/-/k", 400, "target_part", id="part_empty"),
        pytest.param(b"/range/1-2-3/k", 400, "target_part", id="part_of_three"),
        pytest.param(b"/range/5-?o=k", 400, "target_part", id="part_open_by_query"),
        pytest.param(b"/range/abc?o=k", 400, "target_part", id="part_of_letters_by_query"),
        pytest.param(b"/range/?o=k", 400, "target_part", id="no_part_by_query"),
        pytest.param(b"/range/0-9,20-29?o=k", 400, "target_part", id="two_parts"),
        pytest.param(b"/speedtest/range/5-", 400, "target_part", id="speedtest_part_open"),
        pytest.param(b"/speedtest/range/x", 400, "target_part", id="speedtest_part_of_letters"),
        pytest.param(b"/?o=a&o=b", 400, "target_object_repeated", id="two_objects"),
        pytest.param(b"/range/0-9?o=a&o=a", 400, "target_object_repeated", id="two_equal_objects"),
        pytest.param(b"/?o=a%2", 400, "target_escape", id="query_escape_cut"),
        pytest.param(b"/?o=/k", 400, "target_empty_segment", id="query_slash_first"),
        pytest.param(b"/?o=%2fk", 400, "target_empty_segment", id="query_escaped_slash_first"),
        pytest.param(b"/?o=a%2f%2fb", 400, "target_empty_segment", id="query_two_slashes"),
        pytest.param(b"/?o=..%2fetc", 400, "target_dot_segment", id="query_parent"),
        pytest.param(b"/?o=a/%2e%2e/b", 400, "target_dot_segment", id="query_parent_escaped"),
        pytest.param(b"/range/0-9?o=../k", 400, "target_dot_segment", id="part_of_parent"),
        pytest.param(b"/range/0-9/../k", 400, "target_dot_segment", id="part_then_parent"),
        pytest.param(b"/?o=a%00", 400, "target_characters", id="query_nul"),
        pytest.param(b"/?o=a%5cb", 400, "target_characters", id="query_backslash"),
        pytest.param(b"/range/0-9/a%2fb", 400, "target_encoded_slash", id="part_encoded_slash"),
        pytest.param(b"/?x=o", 404, "target_names_no_object", id="no_object"),
        pytest.param(b"/?o=", 404, "target_names_no_object", id="empty_object"),
        pytest.param(b"/?o=a/", 404, "target_names_no_object", id="query_trailing_slash"),
        pytest.param(b"/?o=.git/config", 404, "target_names_no_object", id="query_hidden"),
        pytest.param(b"/range/0-9/.git", 404, "target_names_no_object", id="part_hidden"),
        pytest.param(b"/range/0-9/", 404, "target_names_no_object", id="part_of_no_object"),
        pytest.param(b"/speedtest/", 404, "target_names_no_object", id="speedtest_slash"),
    ],
)
def test_form_that_is_refused(target: bytes, status: int, reason: str) -> None:
    """A key is judged alike, wherever it stands."""
    with pytest.raises(RequestRefused) as caught:
        parse_target(target, has_speedtest=True)
    refused = caught.value
    assert (refused.status, refused.reason, refused.close) == (status, reason, False)


def test_parameter_values() -> None:
    """As they stand, in their order, of this name alone."""
    query = b"t=1&tt=2&T=3&t&t=&x=t=4&t=5%20=6"
    assert parameter_values(query, b"t") == [b"1", b"", b"5%20=6"]
    assert parameter_values(b"", b"t") == []


PIECES = st.sampled_from(
    [b"/", b".", b"..", b"%2e", b"%2f", b"%", b"%25", b"\\", b"a", b"k.mp4", b"?", b"%00", b"%C3",
     b"/range/0-9", b"?o=", b"0-9", b"/speedtest"]
)  # fmt: skip
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


@given(st.binary(min_size=1, max_size=60))
def test_a_key_in_a_query_is_judged_like_one_in_a_path(key: bytes) -> None:
    """But for slashes, which a query may escape."""
    escaped = b"".join(b"%%%02X" % byte for byte in key)
    in_path = read(b"/range/0-9/" + escaped.replace(b"%2F", b"/"))
    assert read(b"/range/0-9?o=" + escaped) == in_path


def read(target: bytes) -> tuple[object, ...]:
    """The key and the part, or the refusal."""
    try:
        return parse_target(target)[::2]
    except RequestRefused as refused:
        return refused.status, refused.reason


SIGNATURE = b"29.1800000000." + b"A" * 43


@pytest.mark.parametrize(
    ("path", "key", "signature"),
    [
        pytest.param(b"/s/%b/a/b" % SIGNATURE, b"a/b", SIGNATURE, id="signed"),
        pytest.param(b"/s/x.y.%b/a" % SIGNATURE, b"a", b"x.y." + SIGNATURE, id="dots_in_version"),
        pytest.param(
            b"/s/29.1." + b"A" * 42 + b"/a", b"s/29.1." + b"A" * 42 + b"/a", b"", id="short"
        ),
        pytest.param(b"/s/%b" % SIGNATURE, b"s/" + SIGNATURE, b"", id="nothing_behind_it"),
        pytest.param(
            b"/s/%b/s/%b/a" % (SIGNATURE, SIGNATURE), b"s/%b/a" % SIGNATURE, SIGNATURE, id="twice"
        ),
        pytest.param(b"/s/a/b", b"s/a/b", b"", id="folder_of_that_name"),
    ],
)
def test_signature_of_a_folder(path: bytes, key: bytes, signature: bytes) -> None:
    """It stands before the rest, once; a key that only looks a bit like it is a key."""
    named = parse_target(path)
    assert (named.key, named.signature) == (key, signature)


def test_what_stands_behind_a_signature_is_judged_as_ever() -> None:
    with pytest.raises(RequestRefused, match="target_dot_segment"):
        parse_target(b"/s/%b/../a" % SIGNATURE)


# -- plain keys ----------------------------------------------------------------------------------

KEY_PIECES = st.sampled_from(
    ["a", "Z9", "-", "_", ".", "..", "/", "%41", "%", "?", "+", " ", "\n", "\0", "é", "~", "\\",
     "range/", "0-9/", "speedtest", "s/", "1.2.", "x" * 43, "k" * 127]
)  # fmt: skip


@given(st.lists(KEY_PIECES, max_size=8).map("".join), st.booleans())
def test_plain_keys_name_themselves(key: str, has_speedtest: bool) -> None:
    if is_plain_key(key):
        target = parse_target(f"/{key}".encode(), has_speedtest=has_speedtest)
        assert target == ObjectTarget(key.encode(), b"")


@pytest.mark.parametrize(
    ("key", "is_plain"),
    [
        ("film/1/seg-0_9.m4s", True),
        ("a", True),
        ("ranges/0-9/a", True),
        ("s3/1.1.x/a", True),
        ("k" * 254, True),
        ("k" * 255, False),
        ("range/0-9/a", False),
        ("speedtest", False),
        ("s/1.1.x/a", False),
        ("/a", False),
        ("a/", False),
        ("a//b", False),
        (".a", False),
        ("a/..", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
        ("", False),
    ],
)
def test_which_keys_are_plain(key: str, is_plain: bool) -> None:
    assert is_plain_key(key) is is_plain
