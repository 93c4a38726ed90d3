"""From the settings of the fleet to its parties, the key of its bills and where its ledger is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from bgp.prefixes import parse_prefix
from ocaserve.bills.bill import BillKey
from ocaserve.bills.bookkeeper import Bookkeeper
from ocaserve.bills.parties import FOREVER, Grouping, Party, find_overlaps
from ocaserve.bills.sqlite_vault import SqliteVault
from ocaserve.bills.vault import Vault
from ocaserve.errors import SettingsError
from ocaserve.settings.bills import (
    LEDGER_FORMS,
    FleetParty,
    is_postgresql,
    ledger_folder_of,
    read_day,
)
from ocaserve.settings.fleet import Fleet
from ocaserve.settings.signing import Signing, newest_version, read_keys
from ocaserve.steering.rpki import VrpError, parse_vrps

_FOLDER = "fleet-ledger"  # `ledger` is that of an appliance, which may run beside


def read_grouping(fleet: Fleet) -> Grouping:
    """The parties of the settings. Raises SettingsError where two have the same."""
    wanted = {number for each in fleet.party for number in each.as_numbers}
    prefixes = _read_prefixes(fleet.as_prefixes_file, wanted) if wanted else {}
    parties = [_party_of(each, prefixes) for each in fleet.party]
    if faults := [f"fleet.party: {fault}" for fault in find_overlaps(parties)]:
        raise SettingsError(faults)
    return Grouping(parties)


def _party_of(party: FleetParty, prefixes: Mapping[int, Iterable[str]]) -> Party:
    own = {str(parse_prefix(each)) for each in party.prefixes}
    own.update(*(prefixes.get(number, ()) for number in party.as_numbers))
    until = read_day(party.until)
    return Party(
        id=party.id,
        prefixes=tuple(sorted(own)),
        sites=tuple(sorted(set(party.sites))),
        since=read_day(party.since) or 0,
        until=FOREVER if until is None else until,
    )


def _read_prefixes(file: str, wanted: set[int]) -> Mapping[int, set[str]]:
    where = f"fleet.as_prefixes_file = {file!r}"
    try:
        table = parse_vrps(Path(file).read_bytes())
    except OSError as error:
        raise SettingsError([f"{where}: {error.strerror}"]) from error
    except VrpError as error:
        raise SettingsError([f"{where}: {error}"]) from error
    found: defaultdict[int, set[str]] = defaultdict(set)
    for each in table:
        if each.asn in wanted:
            found[each.asn].add(str(each.prefix))
    if missing := sorted(wanted - found.keys()):
        raise SettingsError([f"{where}: has no prefix of AS{number}" for number in missing])
    return found


def read_bill_key(fleet: Fleet) -> BillKey | None:
    """The newest one; None without a file. Raises SettingsError."""
    if not fleet.bill_keys_file:
        return None
    signing = _read_signing(fleet.bill_keys_file)
    version = newest_version(signing)
    return BillKey(version, bytes.fromhex(signing.keys[version]))


def read_bill_keys(file: str) -> Mapping[str, bytes]:
    """All of a file, by version. Raises SettingsError."""
    return {name: bytes.fromhex(key) for name, key in _read_signing(file).keys.items()}


def _read_signing(file: str) -> Signing:
    try:
        return read_keys(Signing(keys_file=file))
    except SettingsError as error:
        faults = [
            each.replace("signing.keys_file", "fleet.bill_keys_file") for each in error.faults
        ]
        raise SettingsError(faults) from None


def open_ledger(fleet: Fleet, state: Path | None) -> Bookkeeper | None:
    """The ledger of the settings; None where none is kept. state: the file of what is reported.

    Raises SettingsError.
    """
    url = fleet.ledger or (f"sqlite://{quote(str(state.parent / _FOLDER))}" if state else "off")
    if url == "off":
        return None
    return Bookkeeper(url, open_vault, read_grouping(fleet), read_bill_key(fleet))


def open_vault(url: str) -> Vault:
    """Nothing is connected yet: that is tried with each call. Raises SettingsError."""
    if folder := ledger_folder_of(url):
        return SqliteVault(Path(folder))
    if not is_postgresql(url):
        raise SettingsError([f"fleet.ledger: must be {LEDGER_FORMS}"])
    try:
        from ocaserve.bills.postgresql_vault import PostgresqlVault
    except ImportError as error:
        what = "needs psycopg, which is the extra `postgresql` of ocaserve"
        raise SettingsError([f"fleet.ledger: a URL of PostgreSQL {what}: {error}"]) from error
    try:
        return PostgresqlVault(url)
    except ValueError as error:
        raise SettingsError([f"fleet.ledger: {error}"]) from error
