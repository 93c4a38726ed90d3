"""`[control]`: where operators and the control plane reach the appliance, and who may do what."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Struct

from ocaserve.addresses import parse_address
from ocaserve.errors import SettingsError
from ocaserve.schema import judge, number, secret, text
from ocaserve.settings.secrecy import OWNER_ONLY, is_owners_only

BEARER_FORM = r"^[A-Za-z0-9._~+/=-]{16,}\Z"  # token68 of RFC 9110 section 11.2, not guessable
EACH_BEARER = "a string of 16 characters or more, `A-Za-z0-9._~+/=-`"


TokenLists = TypeVar("TokenLists", bound=Struct)


class Tokens(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bearer tokens by role. As soon as there is one, whatever changes something needs one."""

    read: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=BEARER_FORM)]],
        secret(
            "a list of strings of 16 characters or more, `A-Za-z0-9._~+/=-`",
            "may look",
            each=EACH_BEARER,
        ),
    ] = msgspec.field(default_factory=list)
    operate: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=BEARER_FORM)]],
        secret(
            "a list of strings of 16 characters or more, `A-Za-z0-9._~+/=-`",
            "may look and change: drain, enable, reload, fill",
            each=EACH_BEARER,
        ),
    ] = msgspec.field(default_factory=list)
    fill: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=BEARER_FORM)]],
        secret(
            "a list of strings of 16 characters or more, `A-Za-z0-9._~+/=-`",
            "may read pieces of objects that are on their way, and nothing else: appliances of "
            "the site",
            each=EACH_BEARER,
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
            parse=parse_address,
        ),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.1:8081"])
    tokens: Tokens = msgspec.field(default_factory=Tokens)
    tokens_file: Annotated[
        str,
        text(
            "a file",
            "with `read`, `operate` and `fill` as in `[control.tokens]`, which are added to those; "
            "only its owner may read it",
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
            "size of a request body, decompressed, of calls that take large ones: a manifest of "
            "100,000 objects has about 30 MB; others take 64 KiB at the most",
        ),
    ] = 64 << 20  # fmt: skip
    requests_in_flight: Annotated[
        int,
        number(
            "requests", 1, 100_000,
            "answered at the same time, in each of two lanes: what looks after the appliance "
            "(health, metrics, status, drain), and what else is read; one more hears 503",
        ),
    ] = 200  # fmt: skip
    streams: Annotated[
        int,
        number(
            "streams", 0, 100_000,
            "of events, and waits for changes, at the same time; they last for as long as their "
            "readers like, so they have a lane of their own",
        ),
    ] = 256  # fmt: skip
    events_bytes: Annotated[
        int,
        number(
            "bytes", 65_536, 1 << 30,
            "of the latest changes of the report, held once for all streams; a reader that is "
            "further behind gets what it has missed as one event",
        ),
    ] = 4 << 20  # fmt: skip
    connections: Annotated[
        int,
        number(
            "connections", 8, 100_000,
            "at the same time; for a new one, that which has waited longest without a request goes",
        ),
    ] = 1_024  # fmt: skip
    connections_per_address: Annotated[
        int,
        number("connections", 4, 100_000, "likewise, of one address; all local sockets are one"),
    ] = 512  # fmt: skip
    head_s: Annotated[
        float,
        number(
            "seconds", 1, 3_600,
            "for the head of a request, on a new connection with its TLS handshake; who takes "
            "longer is let go",
        ),
    ] = 15.0  # fmt: skip
    body_s: Annotated[
        float, number("seconds", 1, 3_600, "for the body of a request; then it hears 408")
    ] = 60.0
    idle_s: Annotated[
        float,
        number(
            "seconds", 1, 86_400,
            "between two requests of a connection; more than Prometheus' usual minute",
        ),
    ] = 75.0  # fmt: skip
    stall_s: Annotated[
        float,
        number("seconds", 1, 3_600, "without a byte of an answer or an event being taken"),
    ] = 20.0
    answer_s: Annotated[
        float,
        number(
            "seconds", 1, 86_400,
            "for one answer that is no stream of events; a report of a million routes is 10 MB",
        ),
    ] = 300.0  # fmt: skip


def is_token(given: str) -> bool:
    """Whether it has the form of a bearer token."""
    return re.match(BEARER_FORM, given) is not None


def read_tokens(control: Control) -> Tokens:
    """The tokens of the settings and of the file that they name. Raises SettingsError."""
    if not control.tokens_file:
        return control.tokens
    where = f"control.tokens_file = {control.tokens_file!r}"
    more = read_tokens_file(control.tokens_file, Tokens, where)
    tokens = control.tokens
    return Tokens(
        read=tokens.read + more.read,
        operate=tokens.operate + more.operate,
        fill=tokens.fill + more.fill,
    )


def read_tokens_file(file: str, shape: type[TokenLists], where: str) -> TokenLists:
    """Lists of tokens by role, in TOML. where: the setting, for errors. Raises SettingsError."""
    try:
        is_private = is_owners_only(file)
        values = tomllib.loads(Path(file).read_bytes().decode())
    except OSError as error:
        raise SettingsError([f"{where}: {error.strerror}"]) from error
    except ValueError as error:  # the text of the error may show a piece of the file
        raise SettingsError([f"{where}: must be TOML"]) from error
    if not is_private:
        raise SettingsError([f"{where}: {OWNER_ONLY}"])
    faults = judge(shape, values).findings
    if faults:
        raise SettingsError([f"{where}: {fault.text}" for fault in faults])
    return msgspec.convert(values, shape)
