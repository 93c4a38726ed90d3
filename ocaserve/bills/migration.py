"""From one ledger to another, with other parties or in another store, while records come in.

The new one is *planned*; then records go into both (*doubling*), and all that is held is copied;
when both are equal, for so many days or all that there is, the new one is *switched* to. The old
one goes on being kept beside it, so that there is a way back at any time.

The plan is noted in both ledgers. Settings name either of them: the plan says which is in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from msgspec import Struct

from ocaserve.bills.comparison import Comparison, compare, start_of_day
from ocaserve.bills.copying import copy_month
from ocaserve.bills.month_life import read_life
from ocaserve.bills.months import DAY_S, MonthState
from ocaserve.bills.parties import Grouping
from ocaserve.bills.sides import Ledger, Sides, read_parties, write_parties
from ocaserve.bills.vault import LedgerRefusedError, LedgerUnavailableError, Vault
from ocaserve.lifecycle import advance

_NOTE = "migration"
_MOST_SAID = 20


class MigrationState(Enum):
    """The value is the word shown and noted."""

    PLANNED = "planned"
    DOUBLING = "doubling"
    SWITCHED = "switched"


class MigrationEvent(Enum):
    PLAN = "plan"
    DOUBLE = "double"
    SWITCH = "switch"
    BACK = "back"


MIGRATION_STATES: Mapping[tuple[MigrationState, MigrationEvent], MigrationState] = {
    (MigrationState.PLANNED, MigrationEvent.PLAN): MigrationState.PLANNED,
    (MigrationState.PLANNED, MigrationEvent.DOUBLE): MigrationState.DOUBLING,
    (MigrationState.DOUBLING, MigrationEvent.PLAN): MigrationState.PLANNED,
    (MigrationState.DOUBLING, MigrationEvent.DOUBLE): MigrationState.DOUBLING,
    (MigrationState.DOUBLING, MigrationEvent.SWITCH): MigrationState.SWITCHED,
    (MigrationState.SWITCHED, MigrationEvent.DOUBLE): MigrationState.SWITCHED,
    (MigrationState.SWITCHED, MigrationEvent.BACK): MigrationState.DOUBLING,
    # Only where settings name the new one: then the old one is let go of.
    (MigrationState.SWITCHED, MigrationEvent.PLAN): MigrationState.PLANNED,
}


class Migration(Struct, frozen=True, kw_only=True):
    """From the URL `source` to `target`. parties: the grouping of the target, as its text.

    days: that must be equal before it is switched; 0: all that there is. doubled_at: since when
    records go into both.
    """

    state: MigrationState
    source: str
    target: str
    parties: str
    days: int
    doubled_at: int = 0


class MonthPlan(NamedTuple):
    """What is to be done with a month: its records are grouped anew, or it is copied as it is."""

    month: str
    state: MonthState
    records: int


class Migrator:
    """Changes which ledgers there are. url: that of the settings, whose vault `sides` has.

    wanted: the parties of the settings. Its methods wait, and raise LedgerRefusedError and
    LedgerUnavailableError.
    """

    def __init__(
        self,
        sides: Sides,
        url: str,
        wanted: Grouping,
        open_vault: Callable[[str], Vault],
        wall: Callable[[], float],
    ) -> None:
        self.current: Migration | None = None
        self._sides = sides
        self._configured = sides.vault
        self._url = url
        self._wanted = wanted
        self._open_vault = open_vault
        self._wall = wall
        self._other: Vault | None = None

    # -- what is under way -----------------------------------------------------------------------

    def recall(self) -> None:
        """Go on with what is noted. To be called once, before the sides are used."""
        noted = self._configured.read_note(_NOTE)
        if noted:
            migration = msgspec.json.decode(noted, type=Migration)
            if self._url in (migration.source, migration.target):
                self._set(migration)

    @property
    def beside(self) -> Vault | None:
        """Which is not in force; None where no migration is planned."""
        in_force = self._sides.vault
        return self._other if self._other is not in_force else self._configured

    @property
    def parties(self) -> list[str]:
        """Of the new ledger."""
        if self.current is None:
            return []
        return [each.id for each in Grouping.read(self.current.parties).parties]

    def _set(self, migration: Migration) -> None:
        """Have the sides stand as it says."""
        other = migration.source if self._url == migration.target else migration.target
        if self.current is None or other not in (self.current.source, self.current.target):
            if self._other is not None:
                self._other.close()
            self._other = self._open_vault(other)
        assert self._other is not None
        self.current = migration
        is_switched = migration.state is MigrationState.SWITCHED
        is_configured_in_force = (self._url == migration.target) == is_switched
        vaults = (self._configured, self._other)
        in_force, beside = vaults if is_configured_in_force else vaults[::-1]
        sides = self._sides
        sides.vault = in_force
        known = read_parties(in_force)
        sides.in_force = None if known is None else Ledger(in_force, known)
        sides.beside = None
        if migration.state is not MigrationState.PLANNED:
            try:
                parties = read_parties(beside)
            except LedgerUnavailableError as error:
                parties, sides.beside_fault = None, str(error)
            sides.beside = Ledger(beside, parties or Grouping.read(migration.parties))

    def _advance(self, event: MigrationEvent) -> Migration:
        """What comes after the current one by an event; nothing is changed yet."""
        if self.current is None:
            raise LedgerRefusedError("no migration is planned")
        if (self.current.state, event) not in MIGRATION_STATES:
            raise LedgerRefusedError(f"{event.value}: the migration is {self.current.state.value}")
        state = advance(MIGRATION_STATES, self.current.state, event)
        return msgspec.structs.replace(self.current, state=state)

    def _note(self, migration: Migration) -> None:
        """In both: first in the one that is not in force, which changes nothing by itself."""
        text = msgspec.json.encode(migration).decode()
        for vault in (self._target_of(migration), self._source_of(migration)):
            vault.write_note(_NOTE, text)
        self._set(migration)

    def _target_of(self, migration: Migration) -> Vault:
        assert self._other is not None
        return self._configured if self._url == migration.target else self._other

    def _source_of(self, migration: Migration) -> Vault:
        assert self._other is not None
        return self._configured if self._url == migration.source else self._other

    # -- the steps -------------------------------------------------------------------------------

    def plan(self, target: str = "", days: int = 7) -> list[MonthPlan]:
        """To the parties of the settings, in the store `target`; by default another place in the
        same store. Returns what `double` will do.
        """
        with self._sides.changing:
            if self.current is not None:
                self._advance(MigrationEvent.PLAN)
                is_switched = self.current.state is MigrationState.SWITCHED
                if is_switched and self._url != self.current.target:
                    raise LedgerRefusedError(
                        "settings name the old ledger still: fleet.ledger is to be the new one"
                    )
            in_force = self._sides.in_force
            assert in_force is not None
            if not target and in_force.grouping.digest == self._wanted.digest:
                raise LedgerRefusedError(
                    "nothing would change: neither another store nor other parties are named"
                )
            target = target or place_beside(self._url, self._wanted)
            if target == self._url:
                raise LedgerRefusedError("the target is the ledger in force")
            migration = Migration(
                state=MigrationState.PLANNED,
                source=self._url,
                target=target,
                parties=self._wanted.text,
                days=days,
            )
            self._require_empty(migration)
            self._configured.write_note(_NOTE, msgspec.json.encode(migration).decode())
            self._set(migration)
            return plan_months(self._configured)

    def _require_empty(self, migration: Migration) -> None:
        """What lies at the target is of the same plan, or nothing."""
        vault = self._open_vault(migration.target)
        try:
            noted = read_parties(vault)
            is_ours = noted is not None and noted.text == migration.parties
            if vault.months() and not is_ours:
                raise LedgerRefusedError(f"{vault.url} holds another ledger")
        finally:
            vault.close()

    def double(self, *, afresh: bool = False) -> None:
        """Have records go into both from now on, and copy what is missing beside.

        afresh: let go of what is beside, and copy all of it again.
        """
        sides = self._sides
        with sides.changing:
            migration = self._advance(MigrationEvent.DOUBLE)
            if afresh and migration.state is MigrationState.SWITCHED:
                raise LedgerRefusedError("the old ledger is the way back: it is not let go of")
            if not migration.doubled_at or afresh:
                now = int(self._wall())
                migration = msgspec.structs.replace(migration, doubled_at=now)
            if migration.state is MigrationState.DOUBLING:
                write_parties(self._target_of(migration), Grouping.read(migration.parties))
            self._note(migration)
            assert sides.beside is not None
            if afresh:
                for month in sides.beside.vault.months():
                    sides.beside.vault.discard(month)
            sides.beside_fault = ""
        self._copy()

    def _copy(self) -> None:
        """Month by month; records go on coming into both meanwhile."""
        sides = self._sides
        for month in sides.vault.months():
            with sides.changing:
                source, beside = sides.vault, sides.beside
            if beside is None:
                raise LedgerRefusedError("another migration was planned meanwhile")
            copy_month(source, beside, month, sides.changing)

    def compare(self, since: int | None = None) -> Comparison:
        """Of the ledger in force with the one beside it. since: by default what counts for a
        switch.
        """
        migration, beside = self.current, self._sides.beside
        if migration is None or beside is None:
            raise LedgerRefusedError("nothing is doubled: there is nothing to compare")
        if since is None:
            since = self._counts_from(migration)
        return compare(self._sides.vault, beside.vault, since, lambda: self._sides.changing)

    def _counts_from(self, migration: Migration) -> int:
        if not migration.days:
            return 0
        return start_of_day(self._wall()) - migration.days * DAY_S

    def switch(self) -> Comparison:
        """Have the new one in force."""
        with self._sides.changing:  # nothing comes in between the comparison and the switch
            migration = self._advance(MigrationEvent.SWITCH)
            waits = migration.doubled_at + migration.days * DAY_S - self._wall()
            if migration.days and waits > 0:
                raise LedgerRefusedError(
                    f"{migration.days} days are to be equal, and {waits / DAY_S:.1f} are to come"
                )
            found = self.compare()
            if not found.is_equal:
                raise LedgerRefusedError("the two ledgers are not equal", tell(found))
            self._note(migration)
            return found

    def back(self) -> None:
        """Have the old one in force again; the new one is kept beside it."""
        with self._sides.changing:
            migration = self._advance(MigrationEvent.BACK)
            text = msgspec.json.encode(migration).decode()
            self._source_of(migration).write_note(_NOTE, text)
            with suppress(LedgerUnavailableError):  # it may be what one goes back for
                self._target_of(migration).write_note(_NOTE, text)
            self._set(migration)

    def close(self) -> None:
        if self._other is not None:
            self._other.close()


def plan_months(vault: Vault) -> list[MonthPlan]:
    """What there is to be copied."""
    found = []
    for month in vault.months():
        with vault.reading(month) as tables:
            life = read_life(tables)
            if tables is None or life is None:
                continue
            [(records,)] = tables.ask("SELECT COALESCE(SUM(held), 0) FROM chains")
        found.append(MonthPlan(month.name, life.state, int(records)))
    return found


def place_beside(url: str, grouping: Grouping) -> str:
    """In the same store, under a name that tells the grouping."""
    mark = hashlib.sha256(grouping.text.encode()).hexdigest()[:8]
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return parts._replace(path=f"{parts.path}-{mark}").geturl()
    options = dict(parse_qsl(parts.query))
    options["schema"] = f"{options.get('schema', 'ocaserve')[:20]}_{mark}"
    return parts._replace(query=urlencode(options)).geturl()


def tell(found: Comparison) -> Sequence[str]:
    """What is not equal, a line for each."""
    lines = list(found.faults[:_MOST_SAID])
    lines += [
        f"{each.party} at {each.start}: {each.left} and {each.right} bytes: "
        + "; ".join(map(str, each.reasons))
        for each in found.discrepancies[:_MOST_SAID]
    ]
    if (rest := found.unequal - min(len(found.discrepancies), _MOST_SAID)) > 0:
        lines.append(f"and {rest} more")
    return lines
