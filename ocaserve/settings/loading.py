"""From a file, or a command line over one, to settings; or to all the faults there are.

Nothing here looks at a disk or the host, but for the file itself: `ocaserve.checking` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ocaserve.findings import Finding, is_about, refuse, without_consequences
from ocaserve.schema import judge
from ocaserve.settings.appliance import StoreSettings
from ocaserve.settings.bgp import resolve_bgp_paths
from ocaserve.settings.contradictions import find_contradictions
from ocaserve.settings.control import Control
from ocaserve.settings.fill import resolve_fill_paths
from ocaserve.settings.model import File, Settings
from ocaserve.settings.source import SettingsFile, read_source
from ocaserve.settings.tls import Certificate


@dataclass
class Draft:
    """What was said, as far as it can be used, and what is wrong with the rest.

    settings: with defaults for what cannot be used. spoilt: the keys of that. said: keys that the
    command line has over the file.
    """

    settings: Settings
    source: SettingsFile
    findings: list[Finding]
    spoilt: list[str]
    said: Sequence[str] = field(default_factory=list)

    def located(self, findings: Iterable[Finding]) -> list[Finding]:
        """With the file and the line of each; without those that follow from faults before."""
        return [self._locate(each) for each in without_consequences(findings, self.spoilt)]

    def _locate(self, finding: Finding) -> Finding:
        return _locate(finding, self.source, self.said)


def _locate(finding: Finding, source: SettingsFile, said: Iterable[str] = ()) -> Finding:
    if any(is_about(finding.key, key) for key in said):
        return finding
    line = finding.line or source.line_of(finding.key)
    return replace(finding, file=source.file, line=line)


def load_settings(file: str) -> Settings:
    """What a configuration file says. Raises SettingsError with every fault in it."""
    draft = draft_settings(base=file)
    refuse(draft.findings)
    return draft.settings


def load_control(file: str) -> Control:
    """Only how the appliance is reached. Raises SettingsError.

    Whatever is wrong elsewhere in the file, a store that is gone for one, must not keep the
    operator from the appliance that runs.
    """
    source = read_source(file)
    judged = judge(Control, source.values.get("control", {}), "control")
    unread = [] if "control" in source.values else source.findings
    refuse(_locate(finding, source) for finding in [*unread, *judged.findings])
    control = msgspec.convert(judged.values, Control)
    return _resolve_control(control, Path(file).resolve().parent)


def settings_from_directories(
    directories: Sequence[str],
    listen: Sequence[str] = (),
    workers: str | int | None = None,
    base: str | None = None,
    control: Sequence[str] = (),
) -> Settings:
    """Settings of a command line, over those of the file `base` if there is one.

    Raises SettingsError.
    """
    draft = draft_settings(directories, listen, workers, base, control)
    refuse(draft.findings)
    return draft.settings


def draft_settings(
    directories: Sequence[str] = (),
    listen: Sequence[str] = (),
    workers: str | int | None = None,
    base: str | None = None,
    control: Sequence[str] = (),
) -> Draft:
    """The same with all that is wrong. Raises SettingsError where the file cannot be read."""
    source = read_source(base) if base is not None else SettingsFile()
    values = dict(source.values)
    said: dict[str, Any] = {"listen": list(listen)} if listen else {}
    if workers is not None:
        said["workers"] = workers
    _say_over(values, "serve", said)
    over = [f"serve.{key}" for key in said]
    if control:
        _say_over(values, "control", {"listen": list(control)})
        over.append("control.listen")
    if directories:
        values["store"] = [{"path": path and os.path.abspath(path)} for path in directories]
        over.append("store")
    return _draft(values, source, over)


def _say_over(values: dict[str, Any], table: str, said: Mapping[str, Any]) -> None:
    before = values.get(table, {})
    if isinstance(before, dict):  # otherwise a fault of the file, and told as such
        values[table] = {**before, **said}


def _draft(values: Mapping[str, Any], source: SettingsFile, said: Sequence[str]) -> Draft:
    judged = judge(File, values)
    form = [_locate(finding, source, said) for finding in [*source.findings, *judged.findings]]
    if source.findings:  # what is missing may stand in what was not understood
        form = [finding for finding in form if finding.why != "missing"]
    usable = {"store": [], **judged.values, "file": source.file}
    settings = _resolve_paths(msgspec.convert(usable, Settings), source.file)
    spoilt = [finding.key for finding in form if finding.key and not finding.is_harmless]
    if not settings.store and (source.findings or "store" not in values):
        spoilt.append("store")
    draft = Draft(settings, source, form, spoilt, said)
    form += draft.located(find_contradictions(settings))
    form.sort(key=lambda finding: finding.line or 0)
    return draft


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it has been removed, and so has all that was relative to it
        return Path("/")


def _resolve_paths(settings: Settings, file: str) -> Settings:
    """Paths of a file are relative to its folder."""
    folder = Path(file).resolve().parent if file else _working_directory()
    stores = [StoreSettings(path=str(folder / store.path)) for store in settings.store]
    serve = settings.serve
    if serve.access_log not in ("-", "off"):
        serve = msgspec.structs.replace(serve, access_log=str(folder / serve.access_log))
    signing = settings.signing
    if signing.keys_file:
        signing = msgspec.structs.replace(signing, keys_file=str(folder / signing.keys_file))
    control = _resolve_control(settings.control, folder)
    bgp = resolve_bgp_paths(settings.bgp, folder)
    ledger = settings.ledger
    if ledger.directory:
        ledger = msgspec.structs.replace(ledger, directory=str(folder / ledger.directory))
    appliance = settings.appliance
    if appliance.state_directory:
        state = str(folder / appliance.state_directory)
        appliance = msgspec.structs.replace(appliance, state_directory=state)
    report = settings.report
    if report.token_file:
        report = msgspec.structs.replace(report, token_file=str(folder / report.token_file))
    certificates = [
        Certificate(cert=str(folder / pair.cert), key=str(folder / pair.key))
        for pair in settings.tls.certificates
    ]
    tls = msgspec.structs.replace(settings.tls, certificates=certificates)
    return msgspec.structs.replace(
        settings, store=stores, serve=serve, signing=signing, control=control, bgp=bgp,
        fill=resolve_fill_paths(settings.fill, folder),
        ledger=ledger, appliance=appliance, report=report, tls=tls,
    )  # fmt: skip


def _resolve_control(control: Control, folder: Path) -> Control:
    files = ("tokens_file", "certificate", "key")
    paths = {name: given for name in files if (given := getattr(control, name))}
    return msgspec.structs.replace(
        control, **{name: str(folder / given) for name, given in paths.items()}
    )
