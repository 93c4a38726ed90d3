"""One answer to a range: its head says what it must, or the server is at fault."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ocaserve.client.course import Fetch, Version
from ocaserve.origins import Fault, SourceError

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})\Z")
_TAG = re.compile(r'"[\x21\x23-\x7e]{0,200}"\Z')  # strong; RFC 9110 section 8.8.3


class Opened(NamedTuple):
    """An answer that is right. length: how many bytes of body are to come."""

    version: Version
    length: int


def fields_for(wanted: Fetch) -> dict[str, str]:
    """What a request for these bytes says. It is refused, not mixed in, if the version differs."""
    fields = {"Range": f"bytes={wanted.start}-{wanted.stop - 1}", "Accept-Encoding": "identity"}
    if wanted.version is not None:
        fields["If-Range"] = wanted.version.tag
    return fields


def check_head(wanted: Fetch, status: int, fields: Mapping[str, str]) -> Opened:
    """What comes. Raises SourceError."""
    coding = fields.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise SourceError(Fault.ENCODED, coding[:80])
    if status in (401, 403):
        raise SourceError(Fault.REFUSED, f"status {status}")
    if status in (404, 410):
        raise SourceError(Fault.ABSENT, f"status {status}")
    if status not in (200, 206, 416):
        raise SourceError(Fault.STATUS, f"status {status}")
    span = _span_of(status, fields)
    version = _version_of(fields, span)
    if wanted.version is not None and version != wanted.version:
        raise SourceError(Fault.CHANGED, f"{_show(version)} there, {_show(wanted.version)} here")
    if status == 200 and wanted.start:
        raise SourceError(Fault.NO_RANGE, "200 for a range")
    stop = span.size if status == 200 else min(wanted.stop, span.size)
    if (span.start, span.stop) != (wanted.start, stop):
        found = f"{span.start}-{span.stop - 1}/{span.size}"
        asked = f"{wanted.start}-{wanted.stop - 1}"
        raise SourceError(Fault.WRONG_RANGE, f"bytes {found}; asked for {asked}")
    return Opened(version, span.stop - span.start)


class _Span(NamedTuple):
    start: int
    stop: int
    size: int


def _span_of(status: int, fields: Mapping[str, str]) -> _Span:
    if status == 200:
        length = fields.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= 18):
            raise SourceError(Fault.WRONG_RANGE, "no Content-Length")
        return _Span(0, int(length), int(length))
    told = fields.get("Content-Range", "")
    found = _CONTENT_RANGE.match(told)
    if found is None:
        raise SourceError(Fault.WRONG_RANGE, f"Content-Range {told[:80]!r}")
    size = int(found[3])
    if found[1] is None or status == 416:
        if status == 416 and not size:
            return _Span(0, 0, 0)  # of an empty object nothing can be had
        raise SourceError(Fault.WRONG_RANGE, f"status {status}, Content-Range {told[:80]!r}")
    return _Span(int(found[1]), int(found[2]) + 1, size)


def _version_of(fields: Mapping[str, str], span: _Span) -> Version:
    tag = fields.get("ETag", "")
    if not _TAG.match(tag):
        if not span.size:
            return Version("", 0)  # one empty object is as good as another
        raise SourceError(Fault.UNTAGGED, f"ETag {tag[:80]!r}: parts cannot be joined")
    return Version(tag, span.size)


def _show(version: Version) -> str:
    return f"{version.tag} of {version.size} bytes"
