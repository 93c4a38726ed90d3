"""`[fleet]`: the control plane, in a file of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta, Struct

from ocaserve.addresses import parse_address
from ocaserve.findings import Finding, refuse
from ocaserve.schema import choice, flag, judge, number, secret, text
from ocaserve.settings.bills import (
    LEDGER_FORMS,
    FleetParty,
    find_ledger_faults,
    find_party_faults,
)
from ocaserve.settings.control import (
    BEARER_FORM,
    EACH_BEARER,
    Control,
    Tokens,
    read_tokens_file,
)
from ocaserve.settings.fleet_members import FleetAppliance, FleetContent, FleetSite
from ocaserve.settings.places import (
    find_location_faults,
    find_url_faults,
)
from ocaserve.settings.serve import Limits
from ocaserve.settings.source import SettingsFile, read_source

MOST_LISTED_APPLIANCES = 10_000
_BODY_BYTES = 8 << 20  # of a question: 2,000 keys of 2,048 characters, of which most are plain

_NO_FILES = ("-", "off")

_Token = Annotated[str, Meta(pattern=BEARER_FORM)]


class FleetTokens(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bearer tokens by role."""

    read: Annotated[
        list[_Token], secret(f"a list of: {EACH_BEARER}", "may look", each=EACH_BEARER)
    ] = msgspec.field(default_factory=list)
    operate: Annotated[
        list[_Token], secret(f"a list of: {EACH_BEARER}", "may look and change", each=EACH_BEARER)
    ] = msgspec.field(default_factory=list)
    steer: Annotated[
        list[_Token],
        secret(
            f"a list of: {EACH_BEARER}",
            "may ask who serves a client; without one anybody may over loopback",
            each=EACH_BEARER,
        ),
    ] = msgspec.field(default_factory=list)

    @property
    def roles(self) -> Tokens:
        """Of the addresses for operators."""
        return Tokens(read=self.read, operate=self.operate)


class Fleet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The control plane of a network of appliances, which `ocaserve fleet serve` runs."""

    listen: Annotated[
        list[str],
        text(
            "",
            "addresses for operators, appliances and Prometheus. One that is neither local nor "
            "loopback needs tokens, and should have a certificate",
            parse=parse_address,
            min_length=1,
        ),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.1:8090"])
    clients: Annotated[
        list[str],
        text("", "addresses for clients and who asks for them", parse=parse_address, min_length=1),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.1:8088"])
    workers: Annotated[
        Annotated[int, number("processes", 1, 1_024, "")] | Literal["auto"],
        choice("that answer clients; `auto` is one for each core"),
    ] = "auto"
    clients_url: Annotated[
        str,
        text(
            "an http or https URL of host and port",
            "by which players reach `clients`, where something stands before it; they get it in "
            "playlists",
            default="the scheme and host of what was asked",
        ),
    ] = ""
    certificate: Annotated[
        str, text("a file", "PEM, with its chain: TCP addresses then speak TLS only")
    ] = ""
    key: Annotated[str, text("a file", "PEM, of `certificate`, unless it holds both")] = ""
    state: Annotated[
        str,
        text(
            'a URL "sqlite:///PATH", "redis://HOST:PORT/DB", "rediss://…", or "memory"',
            "where what was reported is kept, so that a restart answers at once; a Redis or Valkey "
            "server is shared by several instances",
            default="the state folder's `fleet.db`, where the service manager gives one",
        ),
    ] = ""
    tokens: FleetTokens = msgspec.field(default_factory=FleetTokens)
    tokens_file: Annotated[
        str,
        text(
            "a file",
            "with the lists of `[fleet.tokens]`, which are added to those; only its owner may read "
            "it",
        ),
    ] = ""
    report_ttl_s: Annotated[
        float,
        number(
            "seconds", 1, 86_400,
            "after which an appliance that was not heard of gets no clients: three times the "
            "`report.interval_s` of the appliances",
        ),
    ] = 90.0  # fmt: skip
    shared_grace_s: Annotated[
        float,
        number(
            "seconds", 0, 86_400,
            "for which appliances that report to other instances keep their state while the server "
            "that is shared does not answer; then they count as silent",
        ),
    ] = 300.0  # fmt: skip
    report_bytes: Annotated[
        int,
        number(
            "bytes", 65_536, 1 << 30,
            "size of a report, decompressed; one of a million routes has 50 MB",
        ),
    ] = 128 << 20  # fmt: skip
    turn_up: Annotated[
        Literal["off", "checked"],
        choice(
            "whether an appliance gets clients only after it has passed the checks of its turn-up; "
            "`checked` asks the URLs that reports name for `/healthz` from here"
        ),
    ] = "off"
    turn_up_contact: Annotated[
        bool,
        flag(
            "the checks ask each URL of an appliance for `/healthz`; false where what is for "
            "clients cannot be reached from here"
        ),
    ] = True
    turn_up_content: Annotated[
        float,
        number(
            "a share", 0, 1,
            "of the objects of its manifest that an appliance must have to pass, where "
            "`fleet.content.everywhere` is false",
        ),
    ] = 0.9  # fmt: skip
    url_valid_s: Annotated[
        int,
        number(
            "seconds", 60, 31_536_000,
            "for which a signed URL is good; what plays on needs no control plane for so long",
        ),
    ] = 43_200  # fmt: skip
    answer_ttl_s: Annotated[
        int, number("seconds", 10, 86_400, "after which a client may ask again (`ttl_s`)")
    ] = 300
    decision_log: Annotated[
        str,
        text(
            'a file, "-" or "off"',
            "one decision a line, with all that it was made of, for `ocaserve fleet replay`; "
            '`"-"` is standard output; USR1 opens the file anew after a rotation',
            min_length=1,
        ),
    ] = "off"
    decision_log_share: Annotated[
        float, number("a share", 0, 1, "of the decisions that stand in `decision_log`, at random")
    ] = 0.01
    access_log: Annotated[
        str,
        text(
            'a file, "-" or "off"',
            'of what clients were answered; `"-"` is standard output; USR1 opens it anew',
            min_length=1,
        ),
    ] = "off"
    access_log_format: Annotated[
        Literal["combined", "json"], choice("one line for each answer")
    ] = "combined"
    drain_s: Annotated[
        float,
        number("seconds", 0, 86_400, "for running answers to end, at the end and with a reload"),
    ] = 10.0
    client_bits_per_s: Annotated[
        float,
        number(
            "bits per second", 0, 1e12,
            "that a client is expected to take; so much is counted against what an appliance can "
            "still take, until its reports show it",
        ),
    ] = 5e6  # fmt: skip
    ledger: Annotated[
        str,
        text(
            f"a URL {LEDGER_FORMS}",
            "where the records of all appliances are kept, and bills made of them; a folder has a "
            "file for each month, a database a schema",
            default="the folder `fleet-ledger` beside the file of `state`, where there is one",
        ),
    ] = ""
    bill_keys_file: Annotated[
        str,
        text(
            "a file",
            "with the keys that closed bills are signed with, as of `signing.keys_file`; without "
            "one no month can be closed",
        ),
    ] = ""
    as_prefixes_file: Annotated[
        str,
        text(
            "a file",
            "that says which prefixes are of which AS numbers, for `as_numbers` of parties, in the "
            "form of `bgp.rpki_vrps`; it is read at the start",
        ),
    ] = ""
    party: list[FleetParty] = msgspec.field(default_factory=list)
    site: list[FleetSite] = msgspec.field(default_factory=list)
    appliance: list[FleetAppliance] = msgspec.field(default_factory=list)
    content: FleetContent = msgspec.field(default_factory=FleetContent)
    limits: Limits = msgspec.field(default_factory=Limits)

    def control(self, listen: Sequence[str], tokens: Tokens) -> Control:
        """How these addresses are answered on: by the limits of `[control]`."""
        return Control(
            listen=list(listen),
            tokens=tokens,
            certificate=self.certificate,
            key=self.key,
            body_bytes=_BODY_BYTES,
        )


class FleetFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tables of a file."""

    fleet: Fleet = msgspec.field(default_factory=Fleet)


def load_fleet(file: str | None) -> Fleet:
    """What a file says, or the defaults. Raises SettingsError with every fault in it."""
    source = read_source(file) if file is not None else SettingsFile()
    judged = judge(FleetFile, source.values)
    findings = [*source.findings, *judged.findings]
    fleet = msgspec.convert(judged.values, FleetFile).fleet
    if not findings:
        findings = list(find_fleet_faults(fleet))
    refuse(
        replace(each, file=source.file, line=each.line or source.line_of(each.key))
        for each in findings
    )
    return _resolve(fleet, Path(file).resolve().parent) if file is not None else fleet


def find_fleet_faults(fleet: Fleet) -> Iterator[Finding]:
    """What single values do not show. Nothing on a disk is looked at."""
    if len(fleet.appliance) > MOST_LISTED_APPLIANCES:
        allowed = f"at most {MOST_LISTED_APPLIANCES}"
        yield Finding("fleet.appliance", "", f"{len(fleet.appliance)} of them", allowed)
    yield from _find_doubles("fleet.site", [each.id for each in fleet.site])
    yield from _find_doubles("fleet.appliance", [each.id for each in fleet.appliance])
    is_known = state_file(fleet.state) is not None or shared_url(fleet.state)
    if fleet.state not in ("", "memory") and not is_known:
        allowed = 'a URL "sqlite:///PATH", "redis://HOST:PORT/DB", "rediss://…", or "memory"'
        yield Finding("fleet.state", "", allowed=allowed)
    if not (fleet.content.everywhere or fleet.content.catalogue):
        yield Finding("fleet.content.everywhere", "", "false", "beside fleet.content.catalogue")
    for place, site in enumerate(fleet.site):
        yield from find_location_faults(f"fleet.site[{place}].location", site.location)
    for place, appliance in enumerate(fleet.appliance):
        yield from find_url_faults(f"fleet.appliance[{place}].urls", appliance.urls)
    if fleet.clients_url:
        for fault in find_url_faults("fleet.clients_url", [fleet.clients_url]):
            yield replace(fault, key="fleet.clients_url")
    yield from _find_doubles("fleet.party", [each.id for each in fleet.party])
    yield from find_party_faults(fleet.party, fleet.as_prefixes_file)
    yield from find_ledger_faults(fleet.ledger)
    yield from _find_listen_faults(fleet)


def _find_doubles(key: str, ids: Iterable[str]) -> Iterator[Finding]:
    for name, count in Counter(ids).items():
        if count > 1:
            yield Finding(key, f"{name!r} stands there {count} times", allowed="listed once")


def _find_listen_faults(fleet: Fleet) -> Iterator[Finding]:
    tokens = fleet.tokens
    has_tokens = bool(tokens.read or tokens.operate or fleet.tokens_file)
    operators = [parse_address(each) for each in fleet.listen]
    for place, address in enumerate(operators):
        if not address.is_local and not has_tokens:
            key = f"fleet.listen[{place}]"
            yield Finding(key, "", repr(str(address)), "loopback or local, or fleet.tokens be set")
    for place, given in enumerate(fleet.clients):
        if any(parse_address(given).overlaps(each) for each in operators):
            key = f"fleet.clients[{place}]"
            yield Finding(key, "overlaps fleet.listen", repr(given), "another address")
    if fleet.key and not fleet.certificate:
        yield Finding("fleet.key", "", allowed="beside fleet.certificate")


def state_file(state: str) -> str | None:
    """The file of a URL "sqlite:///PATH"; None where it is none."""
    parts = urlsplit(state)
    path = unquote(parts.path)
    is_file = parts.scheme == "sqlite" and not parts.netloc and path.startswith("/")
    return path if is_file and len(path) > 1 else None


def shared_url(state: str) -> str:
    """The URL of a server that instances share; empty where it names none."""
    try:
        parts = urlsplit(state)
        is_one = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
    except ValueError:
        return ""
    database = parts.path.removeprefix("/")
    return state if is_one and (not database or database.isdigit()) and not parts.query else ""


def _resolve(fleet: Fleet, folder: Path) -> Fleet:
    """Paths of a file are relative to its folder."""

    def below(record: Any, *names: str) -> Any:
        paths = {name: str(folder / given) for name in names if (given := getattr(record, name))}
        return msgspec.structs.replace(record, **paths)

    appliances = [below(each, "token_file", "signing_keys_file") for each in fleet.appliance]
    own = ["certificate", "key", "tokens_file", "bill_keys_file", "as_prefixes_file"]
    own += [
        name for name in ("decision_log", "access_log") if getattr(fleet, name) not in _NO_FILES
    ]
    resolved: Fleet = below(fleet, *own)
    content = below(fleet.content, "catalogue")
    return msgspec.structs.replace(resolved, appliance=appliances, content=content)


# -- the files that it names ---------------------------------------------------------------------


def read_fleet_tokens(fleet: Fleet) -> FleetTokens:
    """The tokens of the settings and of the file that they name. Raises SettingsError."""
    if not fleet.tokens_file:
        return fleet.tokens
    where = f"fleet.tokens_file = {fleet.tokens_file!r}"
    more = read_tokens_file(fleet.tokens_file, FleetTokens, where)
    names = ("read", "operate", "steer")
    return FleetTokens(
        **{name: getattr(fleet.tokens, name) + getattr(more, name) for name in names}
    )
