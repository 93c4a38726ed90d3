"""The reference of the settings, made from their records."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ocaserve.schema import describe_table
from ocaserve.settings.appliance import ApplianceSettings, StoreSettings
from ocaserve.settings.bgp import Bgp, NeighborSettings
from ocaserve.settings.bills import FleetParty
from ocaserve.settings.control import Control, Tokens
from ocaserve.settings.drain import Drain
from ocaserve.settings.fill import Fill, FillPeer
from ocaserve.settings.fleet import Fleet, FleetTokens
from ocaserve.settings.fleet_members import FleetAppliance, FleetContent, FleetSite
from ocaserve.settings.health import HealthSettings
from ocaserve.settings.ledger import LedgerSettings
from ocaserve.settings.queue import QueueSettings
from ocaserve.settings.report import ReportSettings
from ocaserve.settings.serve import Limits, Serve
from ocaserve.settings.signing import Signing
from ocaserve.settings.tls import Certificate, Tls

SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    ("[appliance]", ApplianceSettings),
    ("[serve]", Serve),
    ("[serve.limits]", Limits),
    ("[control]", Control),
    ("[control.tokens]", Tokens),
    ("[health]", HealthSettings),
    ("[ledger]", LedgerSettings),
    ("[bgp]", Bgp),
    ("[[bgp.neighbor]]", NeighborSettings),
    ("[drain]", Drain),
    ("[report]", ReportSettings),
    ("[queue]", QueueSettings),
    ("[fill]", Fill),
    ("[[fill.peer]]", FillPeer),
    ("[tls]", Tls),
    ("[[tls.certificates]]", Certificate),
    ("[[store]]", StoreSettings),
    ("[signing]", Signing),
)

FLEET_SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    ("[fleet]", Fleet),
    ("[fleet.tokens]", FleetTokens),
    ("[fleet.content]", FleetContent),
    ("[[fleet.site]]", FleetSite),
    ("[[fleet.appliance]]", FleetAppliance),
    ("[[fleet.party]]", FleetParty),
)
"""Of the control plane, whose file is another."""


def describe_settings() -> str:
    """All settings as Markdown tables, for docs/settings.md."""
    head = "# Settings\n\nThis page is made from the code by `python -m ocaserve.settings`.\n"
    fleet = "\nThe control plane (`ocaserve fleet serve`) has a file of its own.\n"
    return head + _describe(SECTIONS) + fleet + _describe(FLEET_SECTIONS)


def _describe(sections: Iterable[tuple[str, type[Struct]]]) -> str:
    return "".join(describe_table(title, shape) for title, shape in sections)
