"""`[appliance]` and `[[store]]`: who this is, and where its content lies."""

from __future__ import annotations

import socket
from typing import Annotated

import msgspec
from msgspec import Struct

from ocaserve.schema import text


class Appliance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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
