"""What the control plane may be told of sites, of appliances, and of what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from ocaserve.errors import SettingsError
from ocaserve.schema import choice, flag, number, text
from ocaserve.settings.control import EACH_BEARER, is_token
from ocaserve.settings.places import BaseUrls, Labels, Location
from ocaserve.settings.secrecy import OWNER_ONLY, is_owners_only
from ocaserve.settings.signing import Signing, newest_version, read_keys

_Id = Annotated[
    str, text("1 to 255 characters", "by which it is named", min_length=1, max_length=255)
]


class FleetSite(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One place, whose appliances should hear the same routes. Others have these defaults."""

    id: _Id
    kind: Annotated[
        Literal["embedded", "pni", "exchange"],
        choice("what it is to its clients: where routes are equal, taken in this order"),
    ] = "embedded"
    location: Location = msgspec.field(default_factory=list)
    labels: Labels = msgspec.field(default_factory=dict)
    copies: Annotated[
        float,
        number(
            "copies", 0, 1_000,
            "of an object that its appliances are to hold, on average: each has one, the others "
            "are of what is asked for most. Below 1 the rest is not at the site",
        ),
    ] = 1.0  # fmt: skip


class FleetAppliance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One appliance. As soon as one is listed, no other's reports are taken."""

    id: _Id
    site: Annotated[
        str, text("up to 255 characters", "over that of its reports", max_length=255)
    ] = ""
    urls: BaseUrls = msgspec.field(default_factory=list)
    labels: Labels = msgspec.field(default_factory=dict)
    token_file: Annotated[
        str,
        text(
            "a file",
            "with the bearer token of its reports alone in its first line; only its owner may read "
            "it. Without one its reports are taken over loopback as they come",
        ),
    ] = ""
    share: Annotated[
        float,
        number("", 0, 1_000, "of its site's objects, against the others of it", is_above=True),
    ] = 1.0
    signing_keys_file: Annotated[
        str,
        text("a file", "with the keys that its URLs are signed with, as of `signing.keys_file`"),
    ] = ""


class FleetContent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What appliances hold, and are to hold."""

    everywhere: Annotated[
        bool,
        flag(
            "every appliance is taken to hold every object; otherwise what its reports say, of the "
            "manifest that it has from here"
        ),
    ] = True
    catalogue: Annotated[
        str,
        text(
            "a file",
            "a manifest of all that the network is to hold, of which each appliance's is made; it "
            "is read again when it is another one. Empty: no manifests",
        ),
    ] = ""
    live_sites: Annotated[
        int,
        number(
            "sites", 1, 16,
            "that hold an object before clients are sent to it, where `everywhere` is false",
        ),
    ] = 1  # fmt: skip


def read_appliance_token(appliance: FleetAppliance) -> str:
    """The token that its reports come with; empty without one. Raises SettingsError."""
    if not appliance.token_file:
        return ""
    where = f"fleet.appliance {appliance.id!r}: token_file = {appliance.token_file!r}"
    try:
        is_private = is_owners_only(appliance.token_file)
        line = Path(appliance.token_file).read_text("ascii", "replace").partition("\n")[0].strip()
    except OSError as error:
        raise SettingsError([f"{where}: {error.strerror}"]) from error
    if not is_private:
        raise SettingsError([f"{where}: {OWNER_ONLY}"])
    if not is_token(line):
        raise SettingsError([f"{where}: must hold {EACH_BEARER} in its first line"])
    return line


def read_appliance_key(appliance: FleetAppliance) -> tuple[str, bytes]:
    """Version and secret that its URLs are signed with; empty without. Raises SettingsError."""
    if not appliance.signing_keys_file:
        return "", b""
    try:
        signing = read_keys(Signing(keys_file=appliance.signing_keys_file))
    except SettingsError as error:
        name = f"fleet.appliance {appliance.id!r}"
        raise SettingsError([f"{name}: {fault}" for fault in error.faults]) from None
    version = newest_version(signing)
    return version, bytes.fromhex(signing.keys[version])
