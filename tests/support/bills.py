"""Records as appliances make them, and what they must add up to, reckoned in another way."""

from __future__ import annotations

import ipaddress
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

from ocaserve.bills.parties import UNASSIGNED, Grouping, Party
from ocaserve.bills.sides import write_parties
from ocaserve.bills.sqlite_vault import SqliteVault
from ocaserve.bills.taking import take
from ocaserve.ledger.records import ChainEnd, LedgerRecord, end_of, next_record

NOVEMBER = 1_793_491_200  # 2026-11-01T00:00:00Z
DECEMBER = NOVEMBER + 30 * 86_400
PARTIES = (
    Party(id="alpha", prefixes=("198.51.0.0/16",)),
    Party(id="beta", prefixes=("198.51.100.0/24", "2001:db8::/32")),
    Party(id="gamma", sites=("exchange",)),
)
GROUPING = Grouping(PARTIES)
SITES = {"oca-1": "lab", "oca-2": "exchange", "oca-3": "lab"}
NETWORKS = (
    "198.51.7.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8:7::/48", "other", "local"
)  # fmt: skip


def book_of(appliance: str) -> str:
    """The same for the same appliance."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, appliance))


def chain(
    appliance: str, count: int, start: int = NOVEMBER, networks: Sequence[str] = NETWORKS,
    seed: int = 1, book: str = "",
) -> list[LedgerRecord]:  # fmt: skip
    """So many records from `start` on, of bytes that the seed decides."""
    chance = Random(f"{appliance} {seed}")
    end = ChainEnd(appliance=appliance, book=book or book_of(appliance))
    made = []
    for place in range(count):
        sent = {name: chance.randrange(1, 10**9) for name in networks if chance.random() < 0.7}
        record = next_record(end, start + place * 300, sent)
        end = end_of(record)
        made.append(record)
    return made


def owner_by_addresses(
    parties: Iterable[Party], sites: Mapping[str, str]
) -> Callable[[LedgerRecord, str], str]:
    """To whom a network of a record belongs, by the library's own networks."""
    listed = [(ipaddress.ip_network(p), each) for each in parties for p in each.prefixes]
    named = {site: each for each in parties for site in each.sites}

    def owner(record: LedgerRecord, network: str) -> str:
        try:
            wanted = ipaddress.ip_network(network)
        except ValueError:
            wanted = None
        found = [
            (prefix.prefixlen, each.id) for prefix, each in listed
            if wanted is not None and prefix.version == wanted.version
            and wanted.subnet_of(prefix)  # type: ignore[arg-type]
            and each.since <= record.start < each.until
        ]  # fmt: skip
        if found:
            return max(found)[1]
        site = named.get(sites.get(record.appliance, ""))
        return site.id if site and site.since <= record.start < site.until else UNASSIGNED

    return owner


def add_up(
    records: Iterable[LedgerRecord], parties: Iterable[Party] = PARTIES,
    sites: Mapping[str, str] = SITES,
) -> dict[tuple[str, int], int]:  # fmt: skip
    """Bytes by party and start of the period, each record once; without those of no bytes."""
    owner = owner_by_addresses(list(parties), sites)
    found: Counter[tuple[str, int]] = Counter()
    for record in {(each.appliance, each.book, each.seq): each for each in records}.values():
        for network, count in record.networks.items():
            found[owner(record, network), record.start] += count
    return {key: count for key, count in found.items() if count}


def highest_after_5_percent(values: Sequence[int], count: int) -> int:
    """The 95th percentile in bits per second: sorted, the top 5 % left out, by counting."""
    padded = sorted([*values, *[0] * (count - len(values))])
    while len(padded) > count * 95 / 100:
        padded.pop()
    return round(padded[-1] * 8 / 300) if padded else 0


def fill_ledger(folder: Path) -> None:
    """The last hour of September without one record, October, an hour of November; grouped by other
    parties than those of any settings.
    """
    vault = SqliteVault(folder)
    october = NOVEMBER - 31 * 86_400
    records = chain("oca-1", 31 * 288 + 24, october - 12 * 300, networks=NETWORKS[:1])
    grouping = Grouping([Party(id="isp-a", prefixes=("198.51.0.0/17",))])
    take(vault, grouping, [each for each in records if each.seq != 7], SITES, NOVEMBER + 86_400.0)
    write_parties(vault, grouping)
    vault.close()
