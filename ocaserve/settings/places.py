"""Where an appliance is, and where clients reach it: what settings of both sides may say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from ocaserve.findings import Finding
from ocaserve.schema import text

Location = Annotated[
    list[float],
    text(
        "a list of latitude and longitude, in degrees",
        "where it is; nearer ones are taken where routes are equal and the client's place is told",
        each="a number",
        max_length=2,
    ),
]
BaseUrls = Annotated[
    list[str],
    text(
        "a list of http or https URLs",
        "where clients reach it, each without a path; they are given the first",
        each="a URL of scheme, host and port",
        max_length=8,
    ),
]

Labels = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}\Z")],
        Annotated[str, Meta(max_length=255)],
    ],
    text(
        "a table of name = text", "what policies see of it; of an appliance over that of its site"
    ),
]


def find_location_faults(key: str, location: Sequence[float]) -> Iterator[Finding]:
    """Of a location that is given."""
    bounds = zip(location, (90.0, 180.0), strict=False)
    if len(location) == 1 or not all(-bound <= degrees <= bound for degrees, bound in bounds):
        allowed = "a latitude from -90 to 90 and a longitude from -180 to 180"
        yield Finding(key, "", repr(list(location)), allowed)


def find_url_faults(key: str, urls: Sequence[str]) -> Iterator[Finding]:
    """A password in one is not shown."""
    for place, url in enumerate(urls):
        if not _is_base(url):
            shown = None if "@" in url else repr(url)
            allowed = "an http or https URL of host and port alone"
            yield Finding(f"{key}[{place}]", "", shown, allowed)


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )
