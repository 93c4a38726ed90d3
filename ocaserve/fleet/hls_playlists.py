"""A multivariant playlist with pathways (draft-pantos-hls-rfc8216bis, sections 4.4.6 and 7).

What the object's own playlist has of variants and renditions is stated once for each pathway. Two
players decide how: Shaka takes variants for the same that are equal in all but URI, group and
pathway, and needs PATHWAY-ID at renditions as well; hls.js keeps renditions of different pathways
apart by their groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ocaserve.fleet.client_urls import Object
from ocaserve.fleet.pathways import Pathway, PlaylistError, resolve

MEDIA_TYPE_HLS = "application/vnd.apple.mpegurl"

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\r\n]*)(?:,|$)')
_GROUPS = ("AUDIO", "VIDEO", "SUBTITLES")
_VARIANT = "#EXT-X-STREAM-INF"
_STEERING = "#EXT-X-CONTENT-STEERING"
_RENDITION = "#EXT-X-MEDIA"
_WITH_URI = ("#EXT-X-I-FRAME-STREAM-INF", "#EXT-X-IMAGE-STREAM-INF")

Attributes = dict[str, str]
"""Of a tag, by their names, as they stand: a string has its quotes."""


@dataclass(slots=True)
class _Parts:
    """Of a playlist. above: lines that are stated once."""

    above: list[str] = field(default_factory=list)
    renditions: list[Attributes] = field(default_factory=list)
    variants: list[tuple[Attributes, str]] = field(default_factory=list)
    others: list[tuple[str, Attributes]] = field(default_factory=list)


def add_hls_pathways(
    text: str, base: Object, pathways: Sequence[Pathway], server_uri: str, bits_per_s: int
) -> str:
    """The playlist of an object with a pathway for each appliance, the first to begin with.

    text: the object's own. base: the object. server_uri: of the steering manifest. bits_per_s: what
    a media playlist is said to need, which does not tell. Raises PlaylistError.
    """
    lines = [line.strip() for line in text.splitlines()]
    if not lines or lines[0] != "#EXTM3U":
        raise PlaylistError("does not begin with #EXTM3U")
    if any(line.startswith("#EXTINF") for line in lines):  # a media playlist: its only variant
        variant = ({"BANDWIDTH": str(bits_per_s)}, base.path)
        parts = _Parts(above=["#EXTM3U"], variants=[variant])
    else:
        parts = _read(lines, base, pathways[0])
    if not parts.variants:
        raise PlaylistError("has neither variants nor segments")
    return "\n".join(_write(parts, base, pathways, server_uri)) + "\n"


def _read(lines: Sequence[str], base: Object, first: Pathway) -> _Parts:
    parts, waiting = _Parts(), None
    for line in lines:
        name, _, value = line.partition(":")
        if name == _VARIANT:
            waiting = _parse(value)
        elif name == _RENDITION and "CLOSED-CAPTIONS" not in (given := _parse(value)).values():
            parts.renditions.append(given)
        elif name in _WITH_URI:
            parts.others.append((name, _parse(value)))
        elif line and not line.startswith("#"):
            if waiting is None:
                raise PlaylistError(f"{line[:100]!r} has no {_VARIANT} before it")
            parts.variants.append((waiting, line))
            waiting = None
        elif name != _STEERING and line:
            parts.above.append(_locate_once(name, value, line, base, first))
    return parts


def _locate_once(name: str, value: str, line: str, base: Object, first: Pathway) -> str:
    """A line that is of no pathway; what it names is fetched from the first."""
    if name not in ("#EXT-X-SESSION-KEY", "#EXT-X-SESSION-DATA"):
        return line
    given = _parse(value)
    _locate(given, base, first)
    return f"{name}:{_format(given)}"


def _write(
    parts: _Parts, base: Object, pathways: Sequence[Pathway], server_uri: str
) -> Iterator[str]:
    yield from parts.above
    steering = {"SERVER-URI": f'"{server_uri}"', "PATHWAY-ID": f'"{pathways[0].id}"'}
    yield f"{_STEERING}:{_format(steering)}"
    for pathway in pathways:
        for given in parts.renditions:
            rendition = {**given, "GROUP-ID": _group(given.get("GROUP-ID", '""'), pathway)}
            _locate(rendition, base, pathway)
            yield f"{_RENDITION}:{_format({**rendition, **_mark(pathway)})}"
    for pathway in pathways:
        for given, uri in parts.variants:
            yield f"{_VARIANT}:{_format({**_of_groups(given, pathway), **_mark(pathway)})}"
            yield resolve(base, uri).on(pathway)
    for pathway in pathways:
        for name, given in parts.others:
            stream = _of_groups(given, pathway)
            _locate(stream, base, pathway)
            yield f"{name}:{_format({**stream, **_mark(pathway)})}"


def _mark(pathway: Pathway) -> Attributes:
    return {"PATHWAY-ID": f'"{pathway.id}"'}


def _of_groups(given: Attributes, pathway: Pathway) -> Attributes:
    groups = {name: _group(given[name], pathway) for name in _GROUPS if name in given}
    return {**given, **groups}


def _group(name: str, pathway: Pathway) -> str:
    return f'{name[:-1]}@{pathway.id}"' if name.endswith('"') else name


def _locate(given: Attributes, base: Object, pathway: Pathway) -> None:
    if (uri := given.get("URI", "").strip('"')) and not uri.startswith(("data:", "skd:")):
        given["URI"] = f'"{resolve(base, uri).on(pathway)}"'


def _parse(text: str) -> Attributes:
    """Section 4.2. Raises PlaylistError."""
    given: Attributes = {}
    place = 0
    while place < len(text):
        match = _ATTRIBUTE.match(text, place)
        if match is None:
            raise PlaylistError(f"{text[place:][:100]!r} is no attribute")
        given[match[1]] = match[2]
        place = match.end()
        while text[place : place + 1] == " ":
            place += 1
    return given


def _format(given: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in given.items())
