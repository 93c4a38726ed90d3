"""Signed URLs: who may have an object, until when, from which host; and nothing about which part.

A signed URL carries three parameters: `v`, the version of the key; `e`, the time of its end in
seconds since the epoch; `t`, the token. The token is made of the host, the object's key, and the
texts of `e` and `v`, a line for each behind a line that names the format:

    ocaserve-url-1 LF host LF key LF e LF v

with no line end behind the last. No part of it can hold a line feed, so no two sets of values make
the same text. It is signed by HMAC-SHA256, and the 32 bytes are written in base64url (RFC 4648
section 5) without padding: 43 characters.

Of the three parameters each must stand once, as it was made: they are not decoded, and equal
numbers written otherwise are not equal. Any other parameter may stand beside them.

Where a player goes on from one object to others, as from a playlist to its segments, it keeps the
path and drops the query. So the same can stand in the path, `/s/V.E.TOKEN/KEY`, and is then good
for all objects of a folder and of the folders in it. The token is made of

    ocaserve-folder-1 LF host LF folder LF e LF v

where the folder has a slash neither before nor behind it, and is not empty: no token opens all.
"""

from __future__ import annotations

import hmac
import re
from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.target import parameter_values

MIN_SECRET_BYTES = 16  # of randomness: as much as guessing a token may cost
VERSION = re.compile(
    rb"[A-Za-z0-9._~-]{1,32}"
)  # what a version may be: nothing that needs escaping

MOST_FOLDERS = 16  # around an object for which a token is tried: each costs 4 us

_FORMAT = b"ocaserve-url-1"
_FOLDER_FORMAT = b"ocaserve-folder-1"
_EXPIRY = re.compile(rb"[0-9]{1,12}")  # up to the year 33,658
_PORT = re.compile(rb":[0-9]*\Z")
_BLOCK_BYTES = 64  # of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True)
class SigningPolicy:
    """Whose signatures count. `keys`: the secrets by version, never shown.

    hosts: the names this appliance answers to, in lower case and without port; empty: any.
    clock_skew_s: how long a URL is good beyond its end, because clocks differ.
    """

    keys: Mapping[bytes, bytes] = field(repr=False)
    hosts: frozenset[bytes] = frozenset()
    clock_skew_s: int = 30


def make_token(secret: bytes, host: bytes, key: bytes, expiry: bytes, version: bytes) -> bytes:
    """The token for these values, each as the module's text says it stands in what is signed."""
    return _token_of(secret, _FORMAT, host, key, expiry, version)


def make_folder_token(
    secret: bytes, host: bytes, folder: bytes, expiry: bytes, version: bytes
) -> bytes:
    """The token for all that is in a folder. Raises ValueError for what is none."""
    if not folder or folder.startswith(b"/") or folder.endswith(b"/"):
        raise ValueError(f"{folder!r}: must be a folder, without a slash at its ends")
    return _token_of(secret, _FOLDER_FORMAT, host, folder, expiry, version)


def _token_of(secret: bytes, *lines: bytes) -> bytes:
    return encode_url_safe(hmac.digest(secret, b"\n".join(lines), "sha256"))[:-1]


def encode_url_safe(data: bytes) -> bytes:
    """In base64url with its padding, in half of the time of `base64.urlsafe_b64encode`."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE)


class KeyedHash:
    """HMAC-SHA256 by one key of texts that begin alike, in a third of the time of `hmac.digest`.

    HMAC (RFC 2104) hashes two blocks that depend on the key alone, and so does the beginning: that
    much of both hashes is kept.
    """

    def __init__(self, secret: bytes, beginning: bytes = b"") -> None:
        key = secret if len(secret) <= _BLOCK_BYTES else sha256(secret).digest()
        inner, outer = (
            sha256(key.ljust(_BLOCK_BYTES, b"\0").translate(pad)) for pad in (_INNER, _OUTER)
        )
        inner.update(beginning)
        self._inner, self._outer = inner.copy, outer.copy

    def digest(self, rest: bytes) -> bytes:
        """Of the beginning and this: 32 bytes."""
        inner, outer = self._inner(), self._outer()
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()


class TokenMaker:
    """Makes the tokens of one host by one key, as `make_token` does."""

    def __init__(self, secret: bytes, host: bytes, version: bytes) -> None:
        self._digest = KeyedHash(secret, b"%b\n%b\n" % (_FORMAT, host)).digest
        self._version = version

    def ending_of(self, expiry: bytes) -> bytes:
        """What is signed behind the key of each object."""
        return b"\n%b\n%b" % (expiry, self._version)

    def make(self, key: bytes, ending: bytes) -> bytes:
        """The token of an object. ending: of the URL's expiry (`ending_of`)."""
        return encode_url_safe(self._digest(key + ending))[:-1]


def normalize_host(authority: bytes) -> bytes:
    """The host as it is signed, from a value of Host: without port, in lower case."""
    return _PORT.sub(b"", authority).lower()


def check_signature(
    policy: SigningPolicy, key: bytes, query: bytes, authority: bytes | None, now: int
) -> int:
    """The last second, since the epoch, at which this signature for `key` is good.

    authority: the value of Host. now: seconds since the epoch. Raises RequestRefused with 403; its
    reason is for the log alone, so that nobody can feel his way to a token.
    """
    version, expiry, token = (_single(query, name) for name in (b"v", b"e", b"t"))
    host = _host_of(policy, authority)
    secret, last = _judge(policy, version, expiry, now)
    if not hmac.compare_digest(token, make_token(secret, host, key, expiry, version)):
        raise _refusal("mismatch")
    return last


def check_folder_signature(
    policy: SigningPolicy, key: bytes, signature: bytes, authority: bytes | None, now: int
) -> int:
    """The same for a signature in the path, which covers a folder that `key` is in.

    signature: "V.E.TOKEN". Of a key in more than 16 folders within each other, the outer count.
    """
    version, expiry, token = signature.rsplit(b".", 2)
    host = _host_of(policy, authority)
    secret, last = _judge(policy, version, expiry, now)
    is_good = False
    for folder in folders_around(key):
        made = make_folder_token(secret, host, folder, expiry, version)
        is_good |= hmac.compare_digest(token, made)
    if not is_good:
        raise _refusal("mismatch")
    return last


def folders_around(key: bytes) -> Iterator[bytes]:
    """The folders that an object is in, the outermost first."""
    end = -1
    for _ in range(MOST_FOLDERS):
        end = key.find(b"/", end + 1)
        if end < 0:
            return
        yield key[:end]


def _host_of(policy: SigningPolicy, authority: bytes | None) -> bytes:
    """The host that is asked, if it is one of this appliance. Raises RequestRefused."""
    if not authority:
        raise _refusal("host")
    host = normalize_host(authority)
    if policy.hosts and host not in policy.hosts:
        raise _refusal("host")
    return host


def _judge(policy: SigningPolicy, version: bytes, expiry: bytes, now: int) -> tuple[bytes, int]:
    """The secret, and the last second. Raises RequestRefused where there is none, or it is past."""
    secret = policy.keys.get(version)
    if secret is None:
        raise _refusal("version")
    if _EXPIRY.fullmatch(expiry) is None:
        raise _refusal("expiry")
    last = int(expiry) + policy.clock_skew_s
    if now > last:
        raise _refusal("expired")
    return secret, last


def _single(query: bytes, name: bytes) -> bytes:
    values = parameter_values(query, name)
    if len(values) != 1:
        raise _refusal("repeated" if values else "missing")
    return values[0]


def _refusal(why: str) -> RequestRefused:
    return RequestRefused(403, f"signature_{why}", close=False)
