"""`[fill]`: content that arrives by itself. The table is there, or nothing is filled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from ocaserve.daily_window import read_window, read_zone
from ocaserve.findings import Finding
from ocaserve.protocol.elsewhere import find_template_fault
from ocaserve.queue.engines import find_engine_fault
from ocaserve.schema import choice, flag, number, secret, text
from ocaserve.urls import is_http_url


class FillPeer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another appliance of the site, which is asked before the origin."""

    id: Annotated[
        str, text("1 to 255 characters", "its `appliance.id`", min_length=1, max_length=255)
    ]
    url: Annotated[
        str, text("an http or https URL", "where it serves objects; keys are put behind it")
    ]
    control: Annotated[
        str,
        text(
            "an http or https URL",
            "of its control address, for pieces of objects that are not whole there yet: it has "
            "the token of `fill.token_file` in `control.tokens.fill`. Empty: whole objects alone",
        ),
    ] = ""


class Fill(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A manifest says what is to be here; it is fetched by night, verified, from peers first."""

    is_on: Annotated[bool, flag("fill; without the table nothing is filled")] = True
    manifest_url: Annotated[
        str,
        text("an http or https URL", "where the manifest is; without it one is put by the API"),
    ] = ""
    manifest_interval_s: Annotated[
        float, number("seconds", 1, 86_400, "between two looks at `manifest_url`")
    ] = 300.0
    window: Annotated[
        str,
        text("two times, HH:MM-HH:MM", "of the day, between which is fetched; empty for always"),
    ] = "02:00-14:00"
    time_zone: Annotated[
        str, text("a name of the IANA database", "of `window`, such as Europe/Berlin")
    ] = "UTC"
    rate_bits_per_s: Annotated[
        float, number("bit/s", 0, 1e13, "that all transfers may take together; 0 for no bound")
    ] = 0.0
    queue: Annotated[
        str,
        secret(
            "a URL as of `queue.engine`",
            "that the appliances of a site share; empty is the appliance's own queue",
        ),
    ] = ""
    transfers: Annotated[int, number("objects", 1, 256, "fetched at the same time")] = 4
    lanes: Annotated[int, number("pieces", 1, 64, "of one object fetched at the same time")] = 2
    exclusive: Annotated[
        bool, flag("also remove objects that the manifest does not name, whoever put them there")
    ] = False
    high_watermark: Annotated[
        float, number("share", 0, 1, "of a store that may be used", is_above=True)
    ] = 0.95
    masters: Annotated[
        int, number("appliances", 1, 64, "of a site that may ask the origin for an object at once")
    ] = 1
    escalation_s: Annotated[
        float,
        number(
            "seconds", 0, 86_400,
            "that the others wait for a peer to have it before they ask beyond the site",
        ),
    ] = 600.0  # fmt: skip
    plan_s: Annotated[
        float, number("seconds", 1, 86_400, "between two comparisons of manifest and stores")
    ] = 300.0
    stall_s: Annotated[float, number("seconds", 1, 3_600, "without a byte of a source")] = 15.0
    min_bytes_per_s: Annotated[
        float, number("bytes/s", 0, 1e9, "of one transfer; a source that gives less is left alone")
    ] = 16_384.0
    on_miss: Annotated[
        Literal["404", "redirect"],
        choice(
            "what a client is answered that asks for what no store has: `redirect` sends it on "
            "with 307. What a store may have and cannot tell now stays 503"
        ),
    ] = "404"
    miss_url: Annotated[
        str,
        text(
            "an http or https URL with `{key}` or `{path}`",
            "where everything is, for `on_miss`. `{key}` is the object's key; `{path}` has "
            "`range/A-B/` before it where the path asks for a part, as another appliance takes it, "
            "and with `{key}` such a request is answered 404",
        ),
    ] = ""
    miss_signed: Annotated[
        bool,
        flag(
            "whether `miss_url` is signed for its host, with the version and the end of the URL "
            "that the client came with"
        ),
    ] = False
    ca_file: Annotated[
        str, text("a file", "PEM, whom to believe of https sources instead of the system's list")
    ] = ""
    token_file: Annotated[
        str,
        text(
            "a file",
            "with the bearer token for `manifest_url` and sources in its first line; only its "
            "owner may read it. It is not sent on to where a source redirects",
        ),
    ] = ""
    manifest_token_file: Annotated[
        str,
        text(
            "a file",
            "with the bearer token for `manifest_url` alone, instead of that of `token_file`, such "
            "as the one of `report.token_file`, which no source should see",
        ),
    ] = ""
    scrub_bits_per_s: Annotated[
        float,
        number("bit/s", 0, 1e12, "at which stored objects are read again and verified; 0: never"),
    ] = 80e6
    peer: list[FillPeer] = msgspec.field(default_factory=list)


def find_miss_faults(fill: Fill, *, is_signed: bool) -> Iterator[Finding]:
    """What is wrong with where clients are sent on to. is_signed: what they come with is."""
    if fill.on_miss == "redirect" and not fill.miss_url:
        yield Finding("fill.on_miss", "", repr(fill.on_miss), "beside fill.miss_url")
    if fill.miss_url and not (is_http_url(fill.miss_url) and fill.miss_url.isascii()):
        allowed = "an http or https URL, percent-encoded, without user and password"
        yield Finding("fill.miss_url", "", repr(fill.miss_url), allowed)
    elif fill.miss_url and (fault := find_template_fault(fill.miss_url)):
        yield Finding("fill.miss_url", fault, repr(fill.miss_url))
    if fill.miss_signed and not is_signed:
        yield Finding(
            "fill.miss_signed", "", "true", "beside signing.required = true",
            also=("signing.required",),
        )  # fmt: skip


def find_fill_faults(fill: Fill) -> Iterator[Finding]:
    """What single values do not show."""
    for name, read in (
        ("window", lambda: read_window(fill.window, "UTC")),
        ("time_zone", lambda: read_zone(fill.time_zone)),
    ):
        try:
            read()
        except ValueError as error:
            yield Finding(f"fill.{name}", str(error), repr(getattr(fill, name)))
    if fill.manifest_url and not is_http_url(fill.manifest_url):
        yield Finding(
            "fill.manifest_url", "", repr(fill.manifest_url),
            "an http or https URL without user and password; use fill.token_file",
        )  # fmt: skip
    if fill.queue and (fault := find_engine_fault(fill.queue)):
        yield Finding("fill.queue", fault)
    for place, peer in enumerate(fill.peer):
        if not is_http_url(peer.url):
            allowed = "an http or https URL without user and password"
            yield Finding(f"fill.peer[{place}].url", "", repr(peer.url), allowed)
        if peer.control and not is_http_url(peer.control):
            allowed = "an http or https URL without user and password"
            yield Finding(f"fill.peer[{place}].control", "", repr(peer.control), allowed)


def read_token(file: str) -> str:
    """The token in the first line of a file. Raises OSError, ValueError in words without it."""
    with open(file, "rb") as opened:
        line = opened.readline(4_096).strip()
    if not re.fullmatch(rb"[\x21-\x7e]+", line):
        raise ValueError("its first line must be a token: visible ASCII characters, no spaces")
    return line.decode("ascii")


def resolve_fill_paths(fill: Fill, folder: Path) -> Fill:
    """Files are named from where the configuration lies."""
    found = {
        name: str(folder / given)
        for name in ("ca_file", "token_file", "manifest_token_file")
        if (given := getattr(fill, name))
    }
    return msgspec.structs.replace(fill, **found)
