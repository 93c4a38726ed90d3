"""URLs that clients are given: each good at one appliance, for one object, until its end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.signatures import TokenMaker, make_folder_token, normalize_host
from ocaserve.protocol.target import parse_target

_UNESCAPED = "/~!$&'()*+,;=:@"
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")
_UNESCAPED_IN_QUERY = _UNESCAPED.replace("&", "")


class Object(NamedTuple):
    """An object. path: as a URL has it, percent-encoded, with its slash, and a query where that
    names it. key: as it is signed.
    """

    path: str
    key: bytes


def parse_key(key: str) -> Object:
    """Raises ValueError where no appliance could have an object of such a name."""
    bare = key.removeprefix("/")
    # Nearly all keys: nothing in them is to be escaped, and to find that out is what takes long.
    path = bare if _PLAIN.fullmatch(bare) else quote(bare, safe=_UNESCAPED)
    return _read("/" + path, key)


def locate_key(key: str) -> Object:
    """For who takes any form of URL: by the query where the path would be a form of its own, as
    `range/0-9/a.mp4` is (`protocol.target`). Raises ValueError.
    """
    try:
        return parse_key(key)
    except ValueError:
        return _read("/?o=" + quote(key, safe=_UNESCAPED_IN_QUERY), key)


def parse_path(path: str) -> Object:
    """The same of a URL's path, percent-encoded already. Raises ValueError."""
    return _read(quote(path, safe=f"%{_UNESCAPED}"), path)


def _read(path: str, said: str) -> Object:
    try:
        target = parse_target(path.encode())
    except RequestRefused as refusal:
        raise ValueError(f"{said[:200]!r} names no object ({refusal.reason})") from None
    if target.part is not None or target.signature:
        raise ValueError(f"{said[:200]!r} names a part of an object, or is signed")
    return Object(path, target.key)


@dataclass(frozen=True, slots=True)
class ClientLocation:
    """Where clients reach an appliance. version and secret: what its URLs are signed with, if so.

    base: scheme, host and port, without a slash at its end.
    """

    base: str
    version: str = ""
    secret: bytes = field(default=b"", repr=False)


class Signer:
    """Makes the URLs of one appliance. `parts`: of what they begin with."""

    def __init__(self, location: ClientLocation) -> None:
        self.location = location
        self.parts = urlsplit(location.base)
        self._host = normalize_host(self.parts.netloc.encode())
        self._version = location.version.encode()
        self._tokens = TokenMaker(location.secret, self._host, self._version)

    def make(self, wanted: Object, expires: int) -> str:
        """The URL of an object. expires: the last second that it is good, since the epoch."""
        location, path = self.location, wanted.path
        if not location.secret:
            return location.base + path
        token = self._tokens.make(wanted.key, b"%d" % expires).decode()
        mark = "&" if "?" in path else "?"
        return f"{location.base}{path}{mark}v={location.version}&e={expires}&t={token}"

    def make_in_folder(self, wanted: Object, folder: bytes, expires: int) -> str:
        """The same, signed for all in a folder that the object is in: what a playlist begins."""
        location = self.location
        if not location.secret:
            return location.base + wanted.path
        end = b"%d" % expires
        token = make_folder_token(location.secret, self._host, folder, end, self._version)
        return f"{location.base}/s/{location.version}.{expires}.{token.decode()}{wanted.path}"
