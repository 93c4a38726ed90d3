"""URLs that clients are given: each good at one appliance, for one object, until its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from msgspec import Struct

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.signatures import TokenMaker, make_folder_token, normalize_host
from ocaserve.protocol.target import is_plain_key, parse_target

_UNESCAPED = "/~!$&'()*+,;=:@"
_UNESCAPED_IN_QUERY = _UNESCAPED.replace("&", "")


class Object(Struct, frozen=True):
    """An object. path: as a URL has it, percent-encoded, with its slash, and a query where that
    names it. key: as it is signed.
    """

    path: str
    key: bytes


def parse_key(key: str) -> Object:
    """Raises ValueError where no appliance could have an object of such a name."""
    if is_plain_key(key):
        return Object("/" + key, key.encode())
    return _read("/" + quote(key.removeprefix("/"), safe=_UNESCAPED), key)


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
        self._expires = -1  # of the two below, which are alike for all URLs of a minute
        self._ending, self._query = b"", ""

    def make(self, wanted: Object, expires: int) -> str:
        """The URL of an object. expires: the last second that it is good, since the epoch."""
        location, path = self.location, wanted.path
        if not location.secret:
            return location.base + path
        if expires != self._expires:
            self._expires = expires
            self._ending = self._tokens.ending_of(b"%d" % expires)
            self._query = f"v={location.version}&e={expires}&t="
        token = self._tokens.make(wanted.key, self._ending).decode()
        mark = "&" if "?" in path else "?"
        return f"{location.base}{path}{mark}{self._query}{token}"

    def make_in_folder(self, wanted: Object, folder: bytes, expires: int) -> str:
        """The same, signed for all in a folder that the object is in: what a playlist begins."""
        location = self.location
        if not location.secret:
            return location.base + wanted.path
        end = b"%d" % expires
        token = make_folder_token(location.secret, self._host, folder, end, self._version)
        return f"{location.base}/s/{location.version}.{expires}.{token.decode()}{wanted.path}"
