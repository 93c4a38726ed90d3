"""No spelling of a signed URL brings its token into a log."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable
from time import process_time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.logs.hiding import hide_tokens, show

Spelling = Callable[[str], str]

TOKENS = st.binary(min_size=32, max_size=32).map(
    lambda seed: base64.urlsafe_b64encode(hashlib.sha256(seed).digest()).rstrip(b"=").decode()
)
TOKEN = "Zm9vYmFyLWJhei1xdXV4LTAxMjM0NTY3ODlhYmNkZWY"
SPELLINGS: list[Spelling] = [
    quote,
    lambda text: quote(text, safe=""),
    quote_plus,
    html.escape,
    lambda text: "".join(f"%{ord(c):02x}" for c in text),
    lambda text: "".join(f"%{ord(c):02X}" if n % 3 else c for n, c in enumerate(text)),
    lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    lambda text: "".join(f"\\u{{{ord(c):X}}}" for c in text),
    lambda text: "".join(f"\\x{ord(c):02X}" for c in text),
    lambda text: "".join(f"&#{ord(c)};" for c in text),
    lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    lambda text: "".join(f"%u{ord(c):04X}" for c in text),
    lambda text: text.replace("&", "\\u0026").replace("=", "\\u003d"),
    lambda text: text.replace("\\", "\\\\").replace('"', '\\"'),
]
SEPARATORS = st.sampled_from(
    [
        "?t=",
        "&t=",
        ";t=",
        "#t=",
        "?T=",
        "/t/",
        ",t=",
        " t=",
        ":",
        "=",
        "/",
        '{"t":"',
        "t ",
        "t=",
        "",
    ]
)


def sequence_of(spellings: list[Spelling], text: str) -> str:
    for spelling in spellings:
        text = spelling(text)
    return text


@given(
    TOKENS,
    SEPARATORS,
    st.sampled_from(["", "&v=1", '"', "#", "/x.mp4", ".", "%"]),
    st.lists(st.sampled_from(SPELLINGS), max_size=2),
    st.lists(st.sampled_from(SPELLINGS), max_size=1),
)
def test_token_is_hidden(
    token: str, before: str, behind: str, inner: list[Spelling], outer: list[Spelling]
) -> None:
    """By whatever name, in whatever escapes, several times over."""
    spelt = sequence_of(inner, f"http://a/b{before}{token}{behind}")
    text = sequence_of(outer, f"/c?o=d&u={spelt}&e=2").encode()
    shown = hide_tokens(text)
    spelt_token = sequence_of(outer, sequence_of(inner, token)).encode()
    assert spelt_token not in shown
    # Nor is enough of it left to guess the rest.
    size = len(spelt_token)
    assert not any(spelt_token[n : n + size // 2] in shown for n in range(size // 2))


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_text_can_be_shown(text: bytes, most: int) -> None:
    shown = show(text, most)
    assert len(shown) <= len(text) + len(b"... (200 bytes)")
    assert hide_tokens(shown) == shown


@given(TOKENS, st.integers(0, 300), st.lists(st.sampled_from(SPELLINGS), max_size=2))
def test_cut_leaves_no_part_of_a_token(token: str, most: int, spellings: list[Spelling]) -> None:
    text = b"/a/b/c?v=1&x=" + sequence_of(spellings, token).encode() + b"&" + b"y" * 300
    shown = show(text, most)
    assert shown.startswith(b"/a/b/c?v=1"[: max(0, most - 10)])
    assert token[:8].encode() not in shown
    assert sequence_of(spellings, token)[: 8 * (1 + 4 * len(spellings))].encode() not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("/a?v=1&e=2&t=secret", "/a?v=1&e=2&t=-", id="last"),
        pytest.param("/a?t=secret&v=1", "/a?t=-&v=1", id="first"),
        pytest.param("/a?t=secret&t=secret", "/a?t=-&t=-", id="two"),
        pytest.param("/a?v=1;t=secret;e=2", "/a?v=1;t=-;e=2", id="semicolon"),
        pytest.param("/a#t=secret", "/a#t=-", id="fragment"),
        pytest.param("/a%2526t%253Dsecret%2526e=2", "/a%2526t%253D-%2526e=2", id="twice"),
        pytest.param("/a?x=1\\u0026t=secret", "/a?x=1\\u0026t=-", id="script"),
        pytest.param("/a?%74=secret", "/a?%74=-", id="name"),
        pytest.param(f"/a/{TOKEN}/b", "/a/-/b", id="shape"),
        pytest.param(f"/s/29.1800000000.{TOKEN}/a/b", "/s/29.1800000000.-/a/b", id="folder"),
        pytest.param(f"/a_t_{TOKEN}_b.mp4", "/-.mp4", id="glued"),
        pytest.param("/%252525252525252525", "-", id="without_end"),
    ],
)  # fmt: skip
def test_what_is_shown_of_a_token(text: str, shown: str) -> None:
    assert hide_tokens(text.encode()) == shown.encode()


@pytest.mark.parametrize(
    "text",
    [
        "/t=1?at=1",
        "/film.mp4?v=1&e=2",
        "/the-film-with-the-longest-name-of-all-films-there-are-1080p.mp4",
        "/the-name-that-has-as-many-bytes-as-a-token1",
        "/The.Film.S01E02.1080p/segment-00001.m4s",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "/%E3%83%95%E3%82%A3%E3%83%AB%E3%83%A0.mp4",
        "\xff\x80 \t\\",
    ],
)
def test_what_is_no_token_is_shown(text: str) -> None:
    assert hide_tokens(text.encode("latin-1")) == text.encode("latin-1")


def test_long_text_is_cut_with_a_mark() -> None:
    assert show(b"a b c d e", 5) == b"a b ... (9 bytes)"
    assert show(b"a b c", 5) == b"a b c"
    assert show(b"a" * 15_000, 100) == b"... (15000 bytes)"


@pytest.mark.parametrize("end", [b"", b" ", b"x", b"="])
@pytest.mark.parametrize(
    "piece",
    [
        b"%25", b"\xff", b"&#x26;", b"t=", b"A", b"\\u0026", b"%", b"\\", b"\\u{", b"&#0", b"0",
        b"t ", b"t", b" ", b"-a", b"aB", b"&", b"\\x2",
    ],
)  # fmt: skip
def test_cost_is_bounded(piece: bytes, end: bytes) -> None:
    """Whatever is sent, a thousand bytes of it take about a hundredth of what a square would."""
    part = (piece * 1_024)[: 1_024 - len(end)] + end
    for text in (part, part + b"x" * 15_000):
        began = process_time()
        for _ in range(20):
            show(text, 1_024)
        assert process_time() - began < 0.08
