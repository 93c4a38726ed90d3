"""A whole configuration: one field for each table of the file."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from ocaserve.settings.appliance import ApplianceSettings, StoreSettings
from ocaserve.settings.bgp import Bgp
from ocaserve.settings.control import Control
from ocaserve.settings.drain import Drain
from ocaserve.settings.fill import Fill
from ocaserve.settings.health import HealthSettings
from ocaserve.settings.ledger import LedgerSettings
from ocaserve.settings.queue import QueueSettings
from ocaserve.settings.report import ReportSettings
from ocaserve.settings.serve import Serve
from ocaserve.settings.signing import Signing
from ocaserve.settings.tls import Tls


class File(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tables of a file."""

    appliance: ApplianceSettings = msgspec.field(default_factory=ApplianceSettings)
    serve: Serve = msgspec.field(default_factory=Serve)
    health: HealthSettings = msgspec.field(default_factory=HealthSettings)
    ledger: LedgerSettings = msgspec.field(default_factory=LedgerSettings)
    signing: Signing = msgspec.field(default_factory=lambda: Signing(required=False))
    control: Control = msgspec.field(default_factory=Control)
    bgp: Bgp = msgspec.field(default_factory=Bgp)
    drain: Drain = msgspec.field(default_factory=Drain)
    fill: Fill = msgspec.field(default_factory=lambda: Fill(is_on=False))
    queue: QueueSettings = msgspec.field(default_factory=QueueSettings)
    report: ReportSettings = msgspec.field(default_factory=ReportSettings)
    tls: Tls = msgspec.field(default_factory=Tls)
    store: list[StoreSettings]


class Settings(File, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole configuration. `file` is where it came from, empty without a file."""

    file: str = ""

    @property
    def worker_count(self) -> int:
        """How many workers to run."""
        return _usable_cores() if self.serve.workers == "auto" else self.serve.workers

    @property
    def counts_demand(self) -> bool:
        """Whether anybody wants to know which objects are wanted most."""
        return self.fill.is_on or self.serve.pinned_bytes > 0


def _usable_cores() -> int:
    """Cores that this process may use: a container or taskset may leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
