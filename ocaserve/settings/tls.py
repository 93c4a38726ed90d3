"""`[tls]`: the same content over TLS."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from ocaserve.addresses import parse_address
from ocaserve.schema import choice, number, text


def _parse_tcp(text_: str) -> None:
    if parse_address(text_).path:
        raise ValueError("must be a TCP address")


class Certificate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One certificate, for the names that stand in it. Paths are relative to the file."""

    cert: Annotated[
        str,
        text("a file", "PEM: the certificate, behind it those that lead to its root", min_length=1),
    ]
    key: Annotated[str, text("a file", "PEM: its private key, without a passphrase", min_length=1)]


class Tls(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """TLS 1.2 and 1.3. Without `listen` there is none."""

    listen: Annotated[
        list[str],
        text(
            "",
            'addresses, as in [serve]: `"0.0.0.0:443"`, `"[::]:443"`',
            parse=_parse_tcp,
            min_length=1,
        ),
    ] = msgspec.field(default_factory=list)
    certificates: Annotated[
        list[Certificate],
        text(
            "",
            "one is chosen by the name that the client asks for (SNI), the first if none fits; "
            "two with the same names and other kinds of key (RSA, ECDSA) serve both sorts of "
            "client; files that change are read again within seconds",
        ),
    ] = msgspec.field(default_factory=list)
    ktls: Annotated[
        Literal["auto", "off", "require"],
        choice(
            "encryption in the kernel, which keeps zero copy: where it works, never, or not to "
            "start without it (Linux)"
        ),
    ] = "auto"
    min_version: Annotated[Literal["1.2", "1.3"], choice("the oldest version spoken")] = "1.2"
    ciphers: Annotated[
        str,
        text(
            "cipher names as OpenSSL writes them",
            "for TLS 1.2, best first; those of 1.3 are OpenSSL's own. All have forward secrecy "
            "and authenticated encryption",
            min_length=1,
        ),
    ] = "ECDHE+AESGCM:ECDHE+CHACHA20"
    handshake_s: Annotated[
        float,
        number(
            "seconds", 0, 3_600,
            "for a handshake: two round trips and a key operation take well under one (nginx 60)",
            is_above=True,
        ),
    ] = 10.0  # fmt: skip
    backlog_bytes: Annotated[
        int,
        number(
            "bytes", 1 << 16, 1 << 40,
            "encrypted by one worker and not yet taken by its clients, without kernel TLS: a slow "
            "client holds a record (16 KiB); when it is more, who has waited longest is closed",
        ),
    ] = 256 << 20  # fmt: skip
    handshakes: Annotated[
        int,
        number(
            "connections", 1, 1_000_000,
            "in their handshake at once in one worker; for one more, who has waited longest is "
            "closed, so that a flood of half-open ones takes no place of a viewer",
        ),
    ] = 2_000  # fmt: skip
