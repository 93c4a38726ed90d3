"""A whole configuration: one field for each table of the file."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from ocaserve.settings.appliance import Appliance, StoreSettings
from ocaserve.settings.serve import Serve
from ocaserve.settings.tls import Tls


class File(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tables of a file."""

    appliance: Appliance = msgspec.field(default_factory=Appliance)
    serve: Serve = msgspec.field(default_factory=Serve)
    tls: Tls = msgspec.field(default_factory=Tls)
    store: list[StoreSettings]


class Settings(File, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole configuration. `file` is where it came from, empty without a file."""

    file: str = ""

    @property
    def worker_count(self) -> int:
        """How many workers to run."""
        return _usable_cores() if self.serve.workers == "auto" else self.serve.workers


def _usable_cores() -> int:
    """Cores that this process may use: a container or taskset may leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
