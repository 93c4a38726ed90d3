"""`[appliance]` and `[[store]]`: who this is, and where its content lies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from ocaserve.findings import Finding
from ocaserve.schema import choice, text
from ocaserve.settings.places import BaseUrls, Location, find_location_faults, find_url_faults


class ApplianceSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this is."""

    id: Annotated[
        str,
        text(
            "1 to 255 characters", "name in reports",
            default="host name", min_length=1, max_length=255,
        ),
    ] = msgspec.field(default_factory=socket.gethostname)  # fmt: skip
    site: Annotated[
        str,
        text(
            "up to 255 characters", "appliances of one site share fill and routes", max_length=255
        ),
    ] = ""
    urls: BaseUrls = msgspec.field(default_factory=list)
    location: Location = msgspec.field(default_factory=list)
    site_kind: Annotated[
        Literal["embedded", "pni", "exchange"],
        choice("what its site is to its clients, where the control plane knows no better"),
    ] = "embedded"
    state_directory: Annotated[
        str,
        text(
            "a directory",
            "for what outlives a restart: maintenance windows, a drain. Without it the service "
            "manager's (STATE_DIRECTORY), else such things are forgotten",
        ),
    ] = ""


class StoreSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One directory of content, one for each disk."""

    path: Annotated[str, text("a directory", "that holds the objects", min_length=1)]


def find_appliance_faults(appliance: ApplianceSettings) -> Iterator[Finding]:
    """What single values do not show."""
    yield from find_url_faults("appliance.urls", appliance.urls)
    yield from find_location_faults("appliance.location", appliance.location)
