"""The manifest: which objects an appliance is to hold, and where they can be had. Pure.

    {"version": "2030-01-31", "objects": [{"key": "film/1.mp4", "size": 5000, "sha256": "…",
     "mtime_ns": 0, "priority": 50, "not_before": "2030-02-01T00:00:00Z",
     "pieces": {"size": 8388608, "sha256": ["…"]},
     "sources": [{"tier": "origin", "url": "https://origin.example.net/film/1.mp4"}]}]}

`mtime_ns`, `priority`, `not_before`, `pieces` and `sources` may be left out. A manifest is taken
whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from ocaserve.urls import is_http_url

MOST_FAULTS = 100  # told at once: more are of one kind
_MOST_KEY_BYTES = 4_096
_MOST_OBJECTS = 10_000_000
_MOST_PIECES = 1 << 20
_MOST_TIME_S = 1e11  # seconds since the epoch: the year 5138
_LEAST_PIECE_BYTES = 64 << 10  # less is more digests than content
_MOST_PIECE_BYTES = 1 << 30

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", max_length=64)]
"""SHA-256, in lower-case hexadecimal."""
Tier = Literal["peer", "tier", "origin"]
Version = Annotated[str, Meta(max_length=255)] | Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class ManifestError(ValueError):
    """`faults`: a line for each, naming entry, field, and what is allowed."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Source(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where an object can be had. tier: how far it is; those that are near are asked first."""

    tier: Tier
    url: Annotated[str, Meta(max_length=8_192)]


class Pieces(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Digests of equal parts of an object, of `size` bytes each; the last may be shorter."""

    size: Annotated[int, Meta(ge=_LEAST_PIECE_BYTES, le=_MOST_PIECE_BYTES)]
    sha256: Annotated[list[Digest], Meta(max_length=_MOST_PIECES)]


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One object that is to be here. priority: 0 is fetched first. not_before: not fetched sooner;
    an RFC 3339 time, or seconds since the epoch.
    """

    key: Annotated[str, Meta(min_length=1, max_length=_MOST_KEY_BYTES)]
    size: Annotated[int, Meta(ge=0, le=1 << 50)]
    sha256: Digest
    mtime_ns: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    priority: Annotated[int, Meta(ge=0, le=99)] = 50
    not_before: (
        Annotated[datetime, Meta(tz=True)] | Annotated[float, Meta(ge=0, le=_MOST_TIME_S)] | None
    ) = None
    pieces: Pieces | None = None
    sources: Annotated[list[Source], Meta(max_length=64)] = []

    @property
    def due(self) -> float:
        """From when on it may be fetched: seconds since the epoch."""
        if isinstance(self.not_before, datetime):
            return self.not_before.timestamp()
        return self.not_before or 0.0

    @property
    def id(self) -> str:
        """A name of this version of the object, the same on every machine."""
        return blake2b(f"{self.sha256}:{self.key}".encode(), digest_size=16).hexdigest()

    @property
    def piece_count(self) -> int:
        """How many pieces it comes in; one that has no digests of pieces is one piece."""
        return 1 if self.pieces is None else len(self.pieces.sha256)


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be here. A place is the number of an entry in `objects`."""

    version: Version
    objects: Annotated[list[Entry], Meta(max_length=_MOST_OBJECTS)]


class _Outline(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: Version
    objects: Annotated[list[Raw], Meta(max_length=_MOST_OBJECTS)]


_ENTRY = msgspec.json.Decoder(Entry)


def read_manifest(data: bytes) -> Manifest:
    """A manifest from JSON. Raises ManifestError with its faults, MOST_FAULTS at the most."""
    try:
        outline = msgspec.json.decode(data, type=_Outline)
    except msgspec.ValidationError as error:
        raise ManifestError([f"the manifest: {_words(str(error), '')}"]) from error
    except msgspec.DecodeError as error:
        raise ManifestError([f"the manifest is not JSON: {error}"]) from error
    objects: list[Entry] = []
    faults: list[str] = []
    places: dict[str, int] = {}
    for place, raw in enumerate(outline.objects):
        try:
            entry = _ENTRY.decode(raw)
        except msgspec.MsgspecError as error:
            faults.append(_words(str(error), f"objects[{place}]"))
        else:
            objects.append(entry)
            faults += [f"objects[{place}].{fault}" for fault in _find_faults(entry)]
            first = places.setdefault(entry.key, place)
            if first != place:
                faults.append(f"objects[{place}].key = {entry.key[:80]!r}: is objects[{first}].key")
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise ManifestError(faults[:MOST_FAULTS])
    return Manifest(version=outline.version, objects=objects)


def _words(error: str, where: str) -> str:
    """msgspec's words with the path in ours: `objects[3].size`."""
    said, _, path = error.partition(" - at `$")
    inner = path.removesuffix("`")
    missing = re.search(r"missing required field `(\w+)`", said)
    if missing:
        inner, said = f"{inner}.{missing[1]}", "is missing"
    unknown = re.search(r"contains unknown field `(.*)`", said)
    if unknown:
        inner, said = f"{inner}.{unknown[1][:80]}", "is not a field of it"
    place = f"{where}{inner}".removeprefix(".")
    return f"{place}: {said}" if place else said


def _find_faults(entry: Entry) -> Iterator[str]:
    """What single values do not show."""
    if why := find_key_fault(entry.key):
        yield f"key = {entry.key[:80]!r}: {why}"
    if entry.pieces is not None:
        wanted = -(-entry.size // entry.pieces.size)
        if len(entry.pieces.sha256) != wanted:
            yield (
                f"pieces.sha256: has {len(entry.pieces.sha256)} digests; {entry.size} bytes in "
                f"pieces of {entry.pieces.size} have {wanted}"
            )
    for place, source in enumerate(entry.sources):
        if not is_http_url(source.url):
            yield (
                f"sources[{place}].url = {source.url[:80]!r}: must be an http or https URL "
                "without user and password"
            )


def find_key_fault(key: str) -> str | None:
    """Why no object can have this key; None if one can."""
    if not key or len(key.encode("utf-8", "surrogatepass")) > _MOST_KEY_BYTES:
        return f"must have 1 to {_MOST_KEY_BYTES} bytes"
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff\\]", key):
        return "must not have control characters, backslashes or half characters"
    for name in key.split("/"):
        if not name:
            return "must not begin or end with a slash, or have two together"
        if name.startswith("."):
            return "must not have names that begin with a dot: they are not served"
        if len(name.encode()) > 255:
            return "must not have names of more than 255 bytes"
    return None


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a manifest, for who makes them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(Manifest),
    }
