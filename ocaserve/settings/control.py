"""`[control]`: where operators and the control plane reach the appliance, and who may do what."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Struct

from ocaserve.errors import SettingsError
from ocaserve.schema import find_faults, number, secret, text
from ocaserve.settings.secrecy import OWNER_ONLY, is_owners_only

_ALLOWED = r"^[A-Za-z0-9._~+/=-]{16,}\Z"  # token68 of RFC 9110 section 11.2, not guessable


class Tokens(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bearer tokens by role. As soon as there is one, whatever changes something needs one."""

    read: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=_ALLOWED)]],
        secret("a list of strings of 16 characters or more, `A-Za-z0-9._~+/=-`", "may look"),
    ] = msgspec.field(default_factory=list)
    operate: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=_ALLOWED)]],
        secret(
            "a list of strings of 16 characters or more, `A-Za-z0-9._~+/=-`",
            "may look and change: drain, enable, reload, fill",
        ),
    ] = msgspec.field(default_factory=list)


class Control(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The interface for operators, the control plane and Prometheus."""

    listen: Annotated[
        list[str],
        text(
            "",
            "addresses, as of `serve.listen`; empty for none. One that is neither local nor "
            "loopback needs tokens",
        ),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.1:8081"])
    tokens: Tokens = msgspec.field(default_factory=Tokens)
    tokens_file: Annotated[
        str,
        text(
            "a file",
            "with `read` and `operate` as in `[control.tokens]`, which are added to those; only "
            "its owner may read it",
        ),
    ] = ""
    certificate: Annotated[
        str, text("a file", "PEM, with its chain: TCP addresses then speak TLS only")
    ] = ""
    key: Annotated[str, text("a file", "PEM, of `certificate`, unless it holds both")] = ""
    body_bytes: Annotated[
        int,
        number(
            "bytes", 1_024, 1 << 30,
            "size of a request body; a manifest of 100,000 objects has about 30 MB",
        ),
    ] = 64 << 20  # fmt: skip
    requests_in_flight: Annotated[
        int,
        number(
            "requests", 1, 100_000,
            "answered at the same time; one more hears 503. Streams of events count too",
        ),
    ] = 1_000  # fmt: skip
    head_s: Annotated[
        float,
        number(
            "seconds", 1, 3_600,
            "from a connection to its first request, its TLS handshake included; who takes longer "
            "is let go",
        ),
    ] = 15.0  # fmt: skip


def is_token(given: str) -> bool:
    """Whether it has the form of a bearer token."""
    return re.match(_ALLOWED, given) is not None


def read_tokens(control: Control) -> Tokens:
    """The tokens of the settings and of the file that they name. Raises SettingsError."""
    if not control.tokens_file:
        return control.tokens
    where = f"control.tokens_file = {control.tokens_file!r}"
    try:
        is_private = is_owners_only(control.tokens_file)
        values = tomllib.loads(Path(control.tokens_file).read_bytes().decode())
    except OSError as error:
        raise SettingsError([f"{where}: {error.strerror}"]) from error
    except ValueError as error:  # the text of the error may show a piece of the file
        raise SettingsError([f"{where}: must be TOML"]) from error
    if not is_private:
        raise SettingsError([f"{where}: {OWNER_ONLY}"])
    faults = list(find_faults(Tokens, values))
    if faults:
        raise SettingsError([f"{where}: {fault}" for fault in faults])
    more = msgspec.convert(values, Tokens)
    tokens = control.tokens
    return Tokens(read=tokens.read + more.read, operate=tokens.operate + more.operate)
