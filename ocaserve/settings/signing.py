"""`[signing]`: URLs that only those can make who have a key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ocaserve.errors import SettingsError
from ocaserve.findings import Finding
from ocaserve.schema import describe_allowed, flag, number, secret, text
from ocaserve.settings.secrecy import OWNER_ONLY, is_owners_only

_HOST = r"^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])\Z"

Keys = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,32}\Z")],
        Annotated[str, Meta(pattern=r"^(?:[0-9A-Fa-f]{2}){16,64}\Z")],
    ],
    secret(
        'a table of version = secret: versions of 1 to 32 letters, digits, `.`, `_`, `~`, `-`; '
        "secrets of 16 to 64 bytes in hexadecimal",
        "every version that clients may still come with: a new one is added before it is used, an "
        "old one removed when its last URL has expired",
    ),
]  # fmt: skip


class Signing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Signed, expiring URLs. Without this table nothing is signed, and everybody may have all."""

    required: Annotated[
        bool, flag("whether a request for an object must be signed; otherwise none is checked")
    ] = True
    keys: Keys = msgspec.field(default_factory=dict)
    keys_file: Annotated[
        str,
        text(
            "a file",
            "that holds the table of `keys` instead, in TOML, so that it can be kept from those "
            "who may read this one; only its owner may; HUP reads it again",
        ),
    ] = ""
    hosts: Annotated[
        list[Annotated[str, Meta(pattern=_HOST)]],
        text(
            "a list of names without port",
            "that this appliance answers to: a URL signed for another is refused; empty for any",
            each="a name without port",
        ),
    ] = msgspec.field(default_factory=list)
    clock_skew_s: Annotated[
        int,
        number(
            "seconds", 0, 3_600,
            "for which a URL is good beyond its end, because clocks differ",
        ),
    ] = 30  # fmt: skip

    def __repr__(self) -> str:
        """Without the secrets, wherever it may be printed."""
        return f"Signing(required={self.required}, versions={sorted(self.keys)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("required", self.required), ("versions", sorted(self.keys))]


def read_keys(signing: Signing) -> Signing:
    """With the keys of `keys_file`, if it has one. Raises SettingsError, which tells no key."""
    if not signing.keys_file:
        return signing
    where = f"signing.keys_file = {signing.keys_file!r}"
    try:
        is_private = is_owners_only(signing.keys_file)
        keys = msgspec.convert(tomllib.loads(Path(signing.keys_file).read_text()), Keys)
    except OSError as error:
        raise SettingsError([f"{where}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):  # whose texts may quote the file
        raise SettingsError([f"{where}: not TOML"]) from None
    except msgspec.ValidationError:
        raise SettingsError([f"{where}: must hold {describe_allowed(Keys)}"]) from None
    if not is_private:
        raise SettingsError([f"{where}: {OWNER_ONLY}"])
    if not keys:
        raise SettingsError([f"{where}: holds no key"])
    return msgspec.structs.replace(signing, keys=keys)


def find_signing_faults(signing: Signing) -> Iterator[Finding]:
    """What single values do not show; asked before the file of keys is read."""
    both = ("signing.keys", "signing.keys_file")
    if signing.keys and signing.keys_file:
        yield Finding("signing.keys_file", "must not stand beside signing.keys", also=both)
    if signing.required and not (signing.keys or signing.keys_file):
        allowed = "beside signing.keys or signing.keys_file"
        yield Finding("signing.required", "", "true", allowed, also=both)


def newest_version(signing: Signing) -> str:
    """The version to sign with when none is named: the greatest; words come after numbers."""
    return max(signing.keys, key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0, v))
