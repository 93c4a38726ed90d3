"""Where a ledger lies, and where in it the workers leave their spools."""

from __future__ import annotations

from pathlib import Path

from ocaserve.settings.ledger import LedgerSettings


def ledger_folder(settings: LedgerSettings, state_folder: Path | None, runtime: Path) -> Path:
    """Where the ledger is: as set, or with the state of the appliance, or for this run."""
    return Path(settings.directory or (state_folder or runtime) / "ledger")


def spool_folder(ledger: Path) -> Path:
    """Where workers leave their spools."""
    return ledger / "spools"


def record_folder(ledger: Path) -> Path:
    """Where closed records are, which the fleet may fetch."""
    return ledger / "records"
