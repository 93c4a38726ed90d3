"""The reference of the settings, made from their records."""

from __future__ import annotations

from msgspec import Struct

from ocaserve.schema import describe_table
from ocaserve.settings.appliance import Appliance, StoreSettings
from ocaserve.settings.bgp import Bgp, NeighborSettings
from ocaserve.settings.control import Control, Tokens
from ocaserve.settings.drain import Drain
from ocaserve.settings.health import HealthSettings
from ocaserve.settings.ledger import LedgerSettings
from ocaserve.settings.report import Report
from ocaserve.settings.serve import Limits, Serve
from ocaserve.settings.signing import Signing
from ocaserve.settings.tls import Certificate, Tls

_SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    ("[appliance]", Appliance),
    ("[serve]", Serve),
    ("[serve.limits]", Limits),
    ("[control]", Control),
    ("[control.tokens]", Tokens),
    ("[health]", HealthSettings),
    ("[ledger]", LedgerSettings),
    ("[bgp]", Bgp),
    ("[[bgp.neighbor]]", NeighborSettings),
    ("[drain]", Drain),
    ("[report]", Report),
    ("[tls]", Tls),
    ("[[tls.certificates]]", Certificate),
    ("[[store]]", StoreSettings),
    ("[signing]", Signing),
)


def describe_settings() -> str:
    """All settings as Markdown tables, for docs/settings.md."""
    head = "# Settings\n\nThis page is made from the code by `python -m ocaserve.settings`.\n"
    return head + "".join(describe_table(title, shape) for title, shape in _SECTIONS)
