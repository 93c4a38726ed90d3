"""The media type of an object, by the ending of its key.

A table of our own: Python's `mimetypes` reads files of the operating system, so two appliances
could call the same object by different types; and it knows few types of streaming media.
"""

from __future__ import annotations

OCTET_STREAM = b"application/octet-stream"

_TYPES: dict[bytes, bytes] = {
    b"mp4": b"video/mp4",
    b"m4v": b"video/mp4",
    b"m4s": b"video/iso.segment",
    b"cmfv": b"video/mp4",
    b"cmfa": b"audio/mp4",
    b"cmft": b"application/mp4",
    b"cmfm": b"application/mp4",
    b"m4a": b"audio/mp4",
    b"mov": b"video/quicktime",
    b"webm": b"video/webm",
    b"mkv": b"video/x-matroska",
    b"ts": b"video/mp2t",
    b"m2ts": b"video/mp2t",
    b"m3u8": b"application/vnd.apple.mpegurl",
    b"mpd": b"application/dash+xml",
    b"ism": b"application/vnd.ms-sstr+xml",
    b"vtt": b"text/vtt; charset=utf-8",
    b"srt": b"application/x-subrip",
    b"ttml": b"application/ttml+xml",
    b"dfxp": b"application/ttml+xml",
    b"aac": b"audio/aac",
    b"mp3": b"audio/mpeg",
    b"ogg": b"audio/ogg",
    b"oga": b"audio/ogg",
    b"ogv": b"video/ogg",
    b"opus": b"audio/ogg",
    b"flac": b"audio/flac",
    b"wav": b"audio/wav",
    b"ac3": b"audio/ac3",
    b"ec3": b"audio/eac3",
    b"jpg": b"image/jpeg",
    b"jpeg": b"image/jpeg",
    b"png": b"image/png",
    b"gif": b"image/gif",
    b"webp": b"image/webp",
    b"avif": b"image/avif",
    b"svg": b"image/svg+xml",
    b"json": b"application/json",
    b"xml": b"application/xml",
    b"html": b"text/html; charset=utf-8",
    b"css": b"text/css; charset=utf-8",
    b"js": b"text/javascript; charset=utf-8",
    b"txt": b"text/plain; charset=utf-8",
}
"""IANA's registrations; for m4s RFC 9110 has nothing better than DASH's own segment type
(ISO/IEC 23009-1, annex C)."""


def content_type_for(key: bytes) -> bytes:
    """The Content-Type of an object; `OCTET_STREAM` for endings that are not in the table."""
    _, dot, ending = key.rpartition(b"/")[2].rpartition(b".")
    return _TYPES.get(ending.lower(), OCTET_STREAM) if dot else OCTET_STREAM
