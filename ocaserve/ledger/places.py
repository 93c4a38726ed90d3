"""Where a ledger lies, and where in it the workers leave their spools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ocaserve.settings.ledger import LedgerSettings


def ledger_folder(
    settings: LedgerSettings, runtime_folder: Path, environment: Mapping[str, str]
) -> Path:
    """Where the ledger is: as set, or where the service manager keeps state, or for this run."""
    state = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(settings.directory or Path(state or runtime_folder, "ledger"))


def spool_folder(ledger: Path) -> Path:
    """Where workers leave their spools."""
    return ledger / "spools"
