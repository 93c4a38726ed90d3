"""All looks at a configuration, one after the other, whatever the one before has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ocaserve.checking.certificates import find_certificate_faults
from ocaserve.checking.files import find_file_faults
from ocaserve.checking.fill import find_fill_world_faults
from ocaserve.checking.routes import find_route_faults, without_strangers
from ocaserve.checking.secrets import find_secret_faults, with_keys
from ocaserve.checking.stores import find_store_faults
from ocaserve.findings import Finding, Severity, refuse
from ocaserve.settings import Settings
from ocaserve.settings.loading import Draft, draft_settings

Look = Callable[[Settings], Iterable[Finding]]

_LOOKS: tuple[Look, ...] = (
    find_store_faults,
    find_file_faults,
    find_secret_faults,
    find_certificate_faults,
    find_route_faults,
    find_fill_world_faults,
)


@dataclass(frozen=True)
class Examined:
    """What a configuration comes to. `settings` are complete if nothing is refused."""

    settings: Settings
    findings: Sequence[Finding]

    @property
    def refused(self) -> list[Finding]:
        return [each for each in self.findings if each.severity is Severity.REFUSED]

    @property
    def degraded(self) -> list[Finding]:
        return [each for each in self.findings if each.severity is Severity.DEGRADED]

    def require(self) -> Settings:
        """The settings. Raises SettingsError with all that is refused."""
        refuse(self.findings)
        return self.settings


def examine(
    directories: Sequence[str] = (),
    listen: Sequence[str] = (),
    workers: str | int | None = None,
    base: str | None = None,
    control: Sequence[str] = (),
    *,
    more: Iterable[Look] = (),
) -> Examined:
    """Look at a command line over the file `base`, if there is one.

    more: looks that only `check` takes, since `serve` finds the same by doing it. Raises
    SettingsError where the file cannot be read.
    """
    draft = draft_settings(directories, listen, workers, base, control)
    findings = [*draft.findings, *draft.located(_look(draft, more))]
    signing = with_keys(draft.settings.signing)
    settings = msgspec.structs.replace(draft.settings, signing=signing)
    return Examined(without_strangers(settings), _in_order(findings))


def load_settings(file: str) -> Settings:
    """What `serve` would run with. Raises SettingsError with all that is refused."""
    return examine(base=file).require()


def _look(draft: Draft, more: Iterable[Look]) -> Iterator[Finding]:
    for look in (*_LOOKS, *more):
        yield from look(draft.settings)


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    """As they stand in the file."""
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.line or 0)
