"""The systemd unit that starts the appliance: as whom, and what it hides from it.

Its files are read, since systemd need not run where a configuration is checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath

from ocaserve.findings import Finding, Severity
from ocaserve.settings import Settings

UNIT_FOLDERS = (
    "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system",
)  # fmt: skip
_NAME = "ocaserve.service"
_HIDDEN_HOMES = ("/home", "/root", "/run/user")
_NEVER_HIDDEN = ("/dev", "/proc", "/sys", "/tmp", "/var/tmp")  # noqa: S108 - not ours
_OWN_FOLDERS = {
    "RuntimeDirectory": "/run",
    "StateDirectory": "/var/lib",
    "LogsDirectory": "/var/log",
    "CacheDirectory": "/var/cache",
}


@dataclass(frozen=True)
class Unit:
    """What its files say; lists are joined as systemd joins them."""

    file: str
    said: dict[str, str] = field(default_factory=dict)

    @property
    def user(self) -> str:
        return self.said.get("User", "")

    @property
    def grants_low_ports(self) -> bool:
        return "CAP_NET_BIND_SERVICE" in self.said.get("AmbientCapabilities", "")

    @property
    def hides_homes(self) -> bool:
        return self.said.get("ProtectHome") in ("yes", "true", "tmpfs")

    @property
    def writable(self) -> tuple[str, ...]:
        """Below what its settings let it write."""
        return tuple(
            path
            for path, forbids in self._walls.items()
            if not forbids and path not in _NEVER_HIDDEN
        )

    def read_only_by(self, path: str) -> str:
        """The setting that keeps a path from being written; empty if it may be."""
        above = [each for each in self._walls if PurePath(path).is_relative_to(each)]
        return self._walls[max(above, key=len)] if above else ""

    @cached_property
    def _walls(self) -> dict[str, str]:
        """By path, the setting that forbids to write below it, or nothing.

        The deepest path decides. Of two settings for one path the stricter does, wherever it is
        written (systemd's namespace.c, drop_duplicates).
        """
        own = [
            f"{above}/{name}"
            for setting, above in _OWN_FOLDERS.items()
            for name in self.said.get(setting, "").split()
        ]
        walls = dict.fromkeys([*own, *self._paths("ReadWritePaths"), *_NEVER_HIDDEN], "")
        if self.said.get("ProtectSystem") == "strict":
            walls["/"] = "ProtectSystem=strict"
        return walls | {path: f"ReadOnlyPaths={path}" for path in self._paths("ReadOnlyPaths")}

    def _paths(self, setting: str) -> list[str]:
        return [str(PurePath(path.lstrip("-+"))) for path in self.said.get(setting, "").split()]


def find_unit(config: str, folders: tuple[str, ...] = UNIT_FOLDERS) -> Unit | None:
    """The unit, if it starts the appliance with this configuration."""
    unit = read_unit(folders)
    words = unit.said.get("ExecStart", "").split() if unit is not None else []
    paths = [os.path.realpath(word) for word in words if word.startswith("/")]
    return unit if os.path.realpath(config) in paths else None


def read_unit(folders: tuple[str, ...] = UNIT_FOLDERS) -> Unit | None:
    """What the unit says, of which that of the first folder counts; None without one."""
    for folder in folders:
        file = Path(folder, _NAME)
        if file.is_file():
            said: dict[str, str] = {}
            for part in (file, *_drop_ins(folders)):
                _read(part, said)
            return Unit(str(file), said)
    return None


def _drop_ins(folders: tuple[str, ...]) -> list[Path]:
    """By name; of several with one name, that of the first folder (systemd.unit(5))."""
    found: dict[str, Path] = {}
    for folder in reversed(folders):
        for file in Path(folder, f"{_NAME}.d").glob("*.conf"):
            found[file.name] = file
    return [found[name] for name in sorted(found)]


def _read(file: Path, said: dict[str, str]) -> None:
    """Add what a file says. An empty value forgets what was said before."""
    try:
        text = file.read_text("utf-8", "replace").replace("\\\n", " ")
    except OSError:
        return
    for line in text.splitlines():
        name, is_setting, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not is_setting or name.startswith(("#", ";")):
            continue
        is_list = name.endswith(("Paths", "Directory", "Capabilities"))
        before = said.get(name, "") if value and is_list else ""
        said[name] = f"{before} {value}".strip()


# -- what it hides -------------------------------------------------------------------------------


def sandbox_look(unit: Unit | None) -> Callable[[Settings], Iterator[Finding]]:
    """A look at what is read and written, through the walls of the unit."""

    def look(settings: Settings) -> Iterator[Finding]:
        if unit is None:
            return
        if unit.hides_homes:
            yield from _find_hidden(settings)
        yield from _find_unwritable(settings, unit)

    return look


def _find_hidden(settings: Settings) -> Iterator[Finding]:
    for place, store in enumerate(settings.store):
        if _is_below(store.path, _HIDDEN_HOMES):
            why = "the unit hides it (ProtectHome=)"
            key = f"store[{place}].path"
            yield Finding(key, why, repr(store.path), severity=Severity.DEGRADED)


def _find_unwritable(settings: Settings, unit: Unit) -> Iterator[Finding]:
    log = settings.serve.access_log
    written = {
        "serve.access_log": "" if log in ("-", "off") else log,
        "appliance.state_directory": settings.appliance.state_directory,
        "ledger.directory": settings.ledger.directory,
    }
    tables = {"serve": settings.serve.listen, "control": settings.control.listen}
    for table, addresses in tables.items():
        for place, given in enumerate(addresses):
            if given.startswith("unix:"):
                written[f"{table}.listen[{place}]"] = given.removeprefix("unix:")
    if settings.fill.is_on:
        written.update({f"store[{n}].path": store.path for n, store in enumerate(settings.store)})
    for key, path in written.items():
        forbids = unit.read_only_by(os.path.realpath(path)) if path else ""
        if forbids:
            others = "a ReadWritePaths= of the unit that no ReadOnlyPaths= equals"
            yield Finding(
                key,
                f"the unit lets nothing be written there ({forbids})",
                repr(path),
                f"below {', '.join((*unit.writable, others))}",
                Severity.DEGRADED,
            )


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    real = os.path.realpath(path)
    return any(real == folder or real.startswith(f"{folder}/") for folder in folders)
