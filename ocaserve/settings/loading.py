"""From a file, or a command line over one, to settings; or to all the faults there are."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ocaserve.errors import SettingsError
from ocaserve.schema import find_faults
from ocaserve.settings.appliance import StoreSettings
from ocaserve.settings.bgp import resolve_bgp_paths
from ocaserve.settings.contradictions import find_contradictions
from ocaserve.settings.control import Control
from ocaserve.settings.model import File, Settings
from ocaserve.settings.signing import read_keys
from ocaserve.settings.tls import Certificate


def load_settings(file: str) -> Settings:
    """Read a configuration file. Raises SettingsError with every fault in it."""
    return _build(_read(file), file)


def load_control(file: str) -> Control:
    """Only how the appliance is reached. Raises SettingsError.

    Whatever is wrong elsewhere in the file, a store that is gone for one, must not keep the
    operator from the appliance that runs.
    """
    given = _read(file).get("control", {})
    faults = list(find_faults(Control, given, "control"))
    if faults:
        raise SettingsError([f"{file}: {fault}" for fault in faults])
    return _resolve_control(msgspec.convert(given, Control), Path(file).resolve().parent)


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
    values = _read(base) if base is not None else {}
    said: dict[str, Any] = {"listen": list(listen)} if listen else {}
    if workers is not None:
        said["workers"] = workers
    _say_over(values, "serve", said)
    _say_over(values, "control", {"listen": list(control)} if control else {})
    if directories:
        values["store"] = [{"path": os.path.abspath(path)} for path in directories]
    return _build(values, base or "")


def _say_over(values: dict[str, Any], table: str, said: Mapping[str, Any]) -> None:
    before = values.get(table, {})
    if isinstance(before, dict):  # otherwise a fault of the file, and told as such
        values[table] = {**before, **said}


def _read(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_bytes().decode())
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file}: not TOML: {error}"]) from error


def _build(values: Mapping[str, Any], file: str) -> Settings:
    faults = list(find_faults(File, values))
    if not faults:
        settings = _resolve_paths(msgspec.convert({**values, "file": file}, Settings), file)
        faults = list(find_contradictions(settings))
        if not faults:
            settings, faults = _read_secrets(settings)
        if not faults:
            return settings
    prefix = f"{file}: " if file else ""
    raise SettingsError([prefix + fault for fault in faults])


def _read_secrets(settings: Settings) -> tuple[Settings, list[str]]:
    """With what stands in files of its own, and what is wrong with those."""
    try:
        signing = read_keys(settings.signing)
    except SettingsError as error:
        return settings, list(error.faults)
    return msgspec.structs.replace(settings, signing=signing), []


def _resolve_paths(settings: Settings, file: str) -> Settings:
    """Paths of a file are relative to its folder."""
    folder = Path(file).resolve().parent if file else Path.cwd()
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
        ledger=ledger, appliance=appliance, report=report, tls=tls,
    )  # fmt: skip


def _resolve_control(control: Control, folder: Path) -> Control:
    files = ("tokens_file", "certificate", "key")
    paths = {name: given for name in files if (given := getattr(control, name))}
    return msgspec.structs.replace(
        control, **{name: str(folder / given) for name, given in paths.items()}
    )
