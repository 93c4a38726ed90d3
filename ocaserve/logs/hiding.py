"""What no log shows: the token of a signed URL, which is good for whoever reads it.

A token is found by its name (`t=`) and by its shape: base64url of HMAC-SHA256, 43 characters. Both
are looked for in what the text means, not in how it is spelt: a client may write any character as
`%74`, `%2574`, `%25%37%34`, `\\u0074` or `&#x74;`, and page addresses within addresses do. So the
escapes are undone, again and again, with a note of where each character stood; what is hidden is
cut from the text as it came.

By shape something else may be hidden now and then: of keys those of 43 characters in which capital
and small letters stand, and longer stretches without a dot or slash in which they alternate within
words. A path of small letters never is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence

HIDDEN = b"-"

_TOKEN_CHARACTERS = 43
_MOST_LAYERS = 8  # of escapes in escapes; what has more is no address, and is hidden whole

_ESCAPE = re.compile(
    rb"%u00([0-9A-Fa-f]{2})|%([0-9A-Fa-f]{2})|(?<!\\)\\++(?:u00|x)([0-9A-Fa-f]{2})"
    rb"|(?<!\\)\\++u\{0*([0-9A-Fa-f]{2})\}|&#[xX]0*([0-9A-Fa-f]{2});|&#0*([0-9]{2,3});"
    rb"|&(amp|equals|quest|semi|num|colon);"
)
_DECIMAL, _NAMED = 6, 7  # groups of the above; all others are hexadecimal
_NAMES = dict(zip((b"amp", b"equals", b"quest", b"semi", b"num", b"colon"), b"&=?;#:", strict=True))
_BEYOND_ASCII = 0xFF
_BY_NAME = re.compile(rb"(?<![A-Za-z0-9_./-])[tT][\"']?[ \t]*[=:][ \t]*[\"']?([^&;#\s]+)")
_RUN = re.compile(rb"[A-Za-z0-9_-]{43,}")
_PLAIN = f"/._-{string.ascii_letters}{string.digits}".encode()
_HUMP = re.compile(rb"[a-z0-9][A-Z]")
_WORD = f"_%\\&#;{{}}-{string.ascii_letters}{string.digits}".encode()  # of tokens, and escapes


def hide_tokens(text: bytes) -> bytes:
    """The text with "-" in place of each token."""
    return show(text, len(text))


def show(text: bytes, most_bytes: int) -> bytes:
    """The text for a log: without tokens, and with a mark where it is cut because it is longer.

    The cut falls in front of the word that it would part, which may be a token. The cost is bounded
    by `most_bytes`, whatever the text is.
    """
    if len(text) <= most_bytes:
        if not text.translate(None, _PLAIN) and (
            len(text) < _TOKEN_CHARACTERS or _RUN.search(text) is None
        ):  # nearly every path: nothing is named or escaped
            return text
        return _without_tokens(text, is_cut=False)
    return b"%b... (%d bytes)" % (_without_tokens(text[:most_bytes], is_cut=True), len(text))


def _without_tokens(text: bytes, *, is_cut: bool) -> bytes:
    """is_cut: what stands at the end may be the beginning of a token, and is left out."""
    decoded, places = _decode(text)
    if decoded is None:
        return HIDDEN
    end = len(text)
    if is_cut:
        end = places[len(decoded.rstrip(_WORD))]
    shown, position = b"", 0
    for start, stop in sorted(_find(decoded)):
        if position < places[stop] and places[start] < end:
            shown += text[position : max(position, places[start])] + HIDDEN
            position = places[stop]
    return shown + text[position:end]


def _find(decoded: bytes) -> Iterator[tuple[int, int]]:
    """Where tokens begin and end; by name and by shape may find the same."""
    for named in _BY_NAME.finditer(decoded):
        yield named.span(1)
    for run in _RUN.finditer(decoded):
        if _may_be_token(run[0]):
            yield run.span()


def _may_be_token(run: bytes) -> bool:
    """Of all tokens one in a million has fewer than two humps, and none is all small or capital."""
    if len(run) == _TOKEN_CHARACTERS:
        return not (run.islower() or run.isupper())
    return len(_HUMP.findall(run)) > 1


def _decode(text: bytes) -> tuple[bytes | None, Sequence[int]]:
    """What the text means, and where each of its characters, and its end, stand in the text.

    None: there are escapes in escapes without end. A character beyond ASCII becomes one byte that
    is no token's.
    """
    places: Sequence[int] = range(len(text) + 1)
    for _ in range(_MOST_LAYERS):
        decoded = bytearray()
        kept: list[int] = []
        position = 0
        for escape in _ESCAPE.finditer(text):
            start = escape.start()
            decoded += text[position:start]
            decoded.append(_meant(escape))
            kept += places[position : start + 1]
            position = escape.end()
        if not position:
            return text, places
        text, places = bytes(decoded + text[position:]), [*kept, *places[position:]]
    return None, places


def _meant(escape: re.Match[bytes]) -> int:
    group = escape.lastindex
    assert group is not None, "each alternative has one"
    value = escape[group]
    if group == _NAMED:
        return _NAMES[value]
    return min(int(value, 10 if group == _DECIMAL else 16), _BEYOND_ASCII)
