"""Lists of entity-tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.etags import is_strong_match, is_weak_match

ETAG = b'"17-3e8"'


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        pytest.param(ETAG, True, True, id="same"),
        pytest.param(b'"other"', False, False, id="other"),
        pytest.param(b"W/" + ETAG, False, True, id="weak"),
        pytest.param(b"w/" + ETAG, False, False, id="weakness_has_a_case"),
        pytest.param(b'"x", ' + ETAG, True, True, id="last_of_a_list"),
        pytest.param(ETAG + b',"x"', True, True, id="first_of_a_list"),
        pytest.param(b'W/"x" \t,\tW/' + ETAG + b" ", False, True, id="weak_in_a_list"),
        pytest.param(b"W/" + ETAG + b", " + ETAG, True, True, id="weak_and_strong"),
        pytest.param(b", ," + ETAG + b", ,", True, True, id="empty_elements"),
        pytest.param(b'"a,b", ' + ETAG, True, True, id="comma_in_a_tag"),
        pytest.param(b'"a\\", ' + ETAG, True, True, id="backslash_escapes_nothing"),
        pytest.param(b'"", ' + ETAG, True, True, id="empty_tag"),
        pytest.param(b'"\xe9", ' + ETAG, True, True, id="obs_text"),
        pytest.param(b"", False, False, id="empty"),
        pytest.param(b",", False, False, id="empty_element_alone"),
        pytest.param(b"17-3e8", False, False, id="no_quotes"),
        pytest.param(b'"17-3e8', False, False, id="unclosed"),
        pytest.param(b"'17-3e8'", False, False, id="other_quotes"),
        pytest.param(b'x"17-3e8"', False, False, id="prefix"),
        pytest.param(ETAG + b"x", False, False, id="suffix"),
        pytest.param(ETAG + ETAG, False, False, id="no_comma"),
        pytest.param(b"W/ " + ETAG, False, False, id="space_behind_weak"),
        pytest.param(b'"a b", ' + ETAG, False, False, id="space_in_a_tag"),
        pytest.param(b"nonsense, " + ETAG, False, False, id="what_follows_nonsense"),
        pytest.param(ETAG + b", nonsense", True, True, id="what_precedes_nonsense"),
        pytest.param(b"*, " + ETAG, False, False, id="star_in_a_list"),
    ],
)
def test_match(value: bytes, strong: bool, weak: bool) -> None:
    """Read up to the first thing that is no tag; a W/ counts for the strong comparison alone."""
    assert is_strong_match(value, ETAG) is strong
    assert is_weak_match(value, ETAG) is weak


TAGS = st.binary(max_size=6).map(lambda raw: b'"%b"' % raw.hex().encode())
LISTED = st.lists(st.tuples(st.booleans(), TAGS), max_size=6)


@given(LISTED, TAGS)
def test_list_is_searched_whole(listed: list[tuple[bool, bytes]], etag: bytes) -> None:
    """Against the plain meaning of a well-formed list."""
    value = b", ".join(b"W/" * weak + tag for weak, tag in listed)
    assert is_weak_match(value, etag) is any(tag == etag for _, tag in listed)
    assert is_strong_match(value, etag) is ((False, etag) in listed)


@given(st.binary(max_size=40))
def test_strong_match_is_a_weak_match(value: bytes) -> None:
    """And no value raises."""
    assert not is_strong_match(value, ETAG) or is_weak_match(value, ETAG)
