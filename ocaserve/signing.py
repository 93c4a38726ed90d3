"""Signing URLs, for programs that hand them out; `protocol.signatures` says what is signed.

from ocaserve.signing import sign_url

url = sign_url(
    "https://oca-1.example.net/film/1.mp4", version="29", secret=secret, expires=1_800_000_000
)
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit, urlunsplit

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.signatures import (
    MIN_SECRET_BYTES,
    VERSION,
    SigningPolicy,
    folders_around,
    make_folder_token,
    make_token,
    normalize_host,
)
from ocaserve.protocol.target import parameter_values, parse_target
from ocaserve.settings.signing import Signing


def sign_url(
    url: str, *, version: str, secret: bytes, expires: int, has_speedtest: bool = True
) -> str:
    """The URL with a signature: good for every part of its object and all forms of its URL.

    url: absolute, http or https, its path percent-encoded, in any form that the appliance takes.
    version: of the key, as the appliances know it. expires: seconds since the epoch. has_speedtest:
    whether the appliances read "/speedtest" as the speed test. Raises ValueError, whose text names
    what is wrong with which value and holds no secret.
    """
    parts = _split(url)
    _check(version, secret, expires)
    query = parts.query.encode()
    for name in ("v", "e", "t"):
        if parameter_values(query, name.encode()):
            raise ValueError(f"{url!r}: has a parameter {name!r} already")
    path = (parts.path or "/").encode()
    key = _key_of(url, path + b"?" + query, has_speedtest=has_speedtest)
    host = normalize_host(parts.netloc.encode())
    texts = (host, key, b"%d" % expires, version.encode())
    token = make_token(secret, *texts).decode()
    signature = f"v={version}&e={expires}&t={token}"
    joined = f"{parts.query}&{signature}" if parts.query else signature
    return urlunsplit((parts.scheme, parts.netloc, path.decode(), joined, ""))


def sign_folder(url: str, folder: str, *, version: str, secret: bytes, expires: int) -> str:
    """The URL with a signature in its path: good for all in a folder, and in the folders in it.

    url: of an object in the folder. folder: a key, such as "film/1", not percent-encoded. The rest
    is as of `sign_url`. Raises ValueError, as that does.
    """
    parts = _split(url)
    _check(version, secret, expires)
    covered = folder.strip("/").encode()
    key = _key_of(url, f"{parts.path}?{parts.query}".encode(), has_speedtest=False)
    if covered not in folders_around(key):
        raise ValueError(f"{folder!r}: must be a folder that the object of {url!r} is in")
    host = normalize_host(parts.netloc.encode())
    token = make_folder_token(secret, host, covered, b"%d" % expires, version.encode()).decode()
    path = f"/s/{version}.{expires}.{token}{parts.path}"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def host_of(url: str) -> str:
    """The host of a URL as it is signed. Raises ValueError, as `sign_url` does."""
    return normalize_host(_split(url).netloc.encode()).decode()


def policy_of(signing: Signing) -> SigningPolicy | None:
    """Whose signatures count, by the settings; None: none is asked for."""
    if not signing.required:
        return None
    return SigningPolicy(
        keys={version.encode(): bytes.fromhex(key) for version, key in signing.keys.items()},
        hosts=frozenset(host.lower().encode() for host in signing.hosts),
        clock_skew_s=signing.clock_skew_s,
    )


def _check(version: str, secret: bytes, expires: int) -> None:
    """Raises ValueError where one can be none."""
    if VERSION.fullmatch(version.encode()) is None:
        raise ValueError(f"version {version!r}: must be 1 to 32 of A-Z a-z 0-9 . _ ~ -")
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"secret: must be {MIN_SECRET_BYTES} bytes at least")
    if not 0 <= expires < 10**12:
        raise ValueError(f"expires {expires}: must be seconds since the epoch")


def _key_of(url: str, target: bytes, *, has_speedtest: bool) -> bytes:
    """The object that a target names. Raises ValueError."""
    try:
        named = parse_target(target, has_speedtest=has_speedtest)
    except RequestRefused as refusal:
        raise ValueError(f"{url!r}: names no object ({refusal.reason})") from None
    if named.signature:
        raise ValueError(f"{url!r}: is signed for a folder already")
    return named.key


def _split(url: str) -> SplitResult:
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError(f"{url!r}: must be percent-encoded")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r}: must be absolute, with http or https and a host")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{url!r}: must have neither user nor fragment")
    return parts
