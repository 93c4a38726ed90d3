"""The reference of the settings, made from their records."""

from __future__ import annotations

from msgspec import Struct

from ocaserve.schema import describe_table
from ocaserve.settings.appliance import Appliance, StoreSettings
from ocaserve.settings.serve import Limits, Serve
from ocaserve.settings.tls import Certificate, Tls

_SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    ("[appliance]", Appliance),
    ("[serve]", Serve),
    ("[serve.limits]", Limits),
    ("[tls]", Tls),
    ("[[tls.certificates]]", Certificate),
    ("[[store]]", StoreSettings),
)


def describe_settings() -> str:
    """All settings as Markdown tables, for docs/settings.md."""
    head = "# Settings\n\nThis page is made from the code by `python -m ocaserve.settings`.\n"
    return head + "".join(describe_table(title, shape) for title, shape in _SECTIONS)
