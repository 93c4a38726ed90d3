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
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.target import parameter_values

MIN_SECRET_BYTES = 16  # of randomness: as much as guessing a token may cost
VERSION = re.compile(
    rb"[A-Za-z0-9._~-]{1,32}"
)  # what a version may be: nothing that needs escaping

_FORMAT = b"ocaserve-url-1"
_EXPIRY = re.compile(rb"[0-9]{1,12}")  # up to the year 33,658
_PORT = re.compile(rb":[0-9]*\Z")


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
    message = b"\n".join((_FORMAT, host, key, expiry, version))
    return urlsafe_b64encode(hmac.digest(secret, message, "sha256")).rstrip(b"=")


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
    if not authority:
        raise _refusal("host")
    host = normalize_host(authority)
    if policy.hosts and host not in policy.hosts:
        raise _refusal("host")
    secret = policy.keys.get(version)
    if secret is None:
        raise _refusal("version")
    if _EXPIRY.fullmatch(expiry) is None:
        raise _refusal("expiry")
    last = int(expiry) + policy.clock_skew_s
    if now > last:
        raise _refusal("expired")
    if not hmac.compare_digest(token, make_token(secret, host, key, expiry, version)):
        raise _refusal("mismatch")
    return last


def _single(query: bytes, name: bytes) -> bytes:
    values = parameter_values(query, name)
    if len(values) != 1:
        raise _refusal("repeated" if values else "missing")
    return values[0]


def _refusal(why: str) -> RequestRefused:
    return RequestRefused(403, f"signature_{why}", close=False)
