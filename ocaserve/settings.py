"""What an operator may set: one record for each setting, with unit, default, bounds and reason.

The records are the types themselves (`Annotated[..., Meta(...)]`): what is checked, what an error
says is allowed and what docs/settings.md shows come from the same place. A configuration file is
TOML and strict: an unknown key is an error, and all errors of a file are told at once.
"""

from __future__ import annotations

import difflib
import os
import socket
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ocaserve.addresses import parse_address
from ocaserve.errors import SettingsError


def _unit(unit: str) -> dict[str, str]:
    return {"unit": unit}


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one client may cost. Each limit has a reason of its own to end a connection."""

    head_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=1_048_576,
            extra=_unit("bytes"),
            description="of a request head, all lines together; nginx allows 32 KiB, h11 16 KiB",
        ),
    ] = 16_384
    target_bytes: Annotated[
        int,
        Meta(
            ge=128,
            le=65_536,
            extra=_unit("bytes"),
            description=(
                "of a request target; signed URLs are under 1 KiB, RFC 9112 asks for 8,000 at least"
            ),
        ),
    ] = 8_192
    header_count: Annotated[
        int,
        Meta(
            ge=8, le=1_000, extra=_unit("fields"), description="in a head; browsers send about 20"
        ),
    ] = 100
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            extra=_unit("connections"),
            description="held by one worker; one more is told 503",
        ),
    ] = 20_000
    connections_per_address: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            extra=_unit("connections"),
            description=(
                "from one address to one worker, 0 for no limit: carriers put "
                "thousands of viewers behind one address"
            ),
        ),
    ] = 0
    requests_per_connection: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000_000,
            extra=_unit("requests"),
            description="before a connection is closed, so that load can move between appliances",
        ),
    ] = 100_000
    head_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3_600,
            extra=_unit("seconds"),
            description="for a head to arrive whole, and for the first one to begin",
        ),
    ] = 10.0
    idle_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            extra=_unit("seconds"),
            description="between two requests; players pause about 10 s between segments",
        ),
    ] = 60.0
    stall_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            extra=_unit("seconds"),
            description="in which a client must take some byte of a response; nginx waits 60 s",
        ),
    ] = 30.0
    min_bytes_per_s: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            extra=_unit("bytes/s"),
            description=(
                "that a client must take on average over stall_s; below any media "
                "rate, above a drip that only holds a place"
            ),
        ),
    ] = 1_024
    response_s: Annotated[
        float,
        Meta(
            gt=0,
            le=604_800,
            extra=_unit("seconds"),
            description="for one response; longer than the longest film at its own rate",
        ),
    ] = 14_400.0
    linger_s: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            extra=_unit("seconds"),
            description=(
                "of reading on after our side is closed, so that the answer is not "
                "lost in a reset (RFC 9112 section 9.6)"
            ),
        ),
    ] = 2.0
    pace_bits_per_s: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000_000_000,
            extra=_unit("bit/s"),
            description=(
                "at which the kernel sends to one connection, 0 for as fast as it "
                "goes (Linux, SO_MAX_PACING_RATE)"
            ),
        ),
    ] = 0


class Serve(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The data plane."""

    listen: Annotated[
        list[str],
        Meta(
            min_length=1,
            description=(
                'addresses: "127.0.0.1:8080", "[::]:80", "unix:/run/x.sock"; port 0 '
                "takes a free one"
            ),
        ),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.1:8080"])
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=1_024)] | Literal["auto"],
        Meta(
            extra=_unit("processes"), description='serving processes; "auto" is one for each core'
        ),
    ] = "auto"
    loop: Annotated[
        Literal["auto", "uvloop", "asyncio"],
        Meta(description='event loop; "auto" is uvloop where it is installed'),
    ] = "auto"
    cache_control: Annotated[
        str,
        Meta(
            pattern=r"^[\x20-\x7e]*$",
            description='value of Cache-Control on objects; "" leaves it out',
        ),
    ] = "no-store"
    cors_origin: Annotated[
        str,
        Meta(
            pattern=r"^[\x21-\x7e]*$",
            description='origin that scripts may read from; "" leaves the CORS fields out',
        ),
    ] = "*"
    drain_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            extra=_unit("seconds"),
            description="for running responses to end when the appliance stops",
        ),
    ] = 30.0
    reload_drain_s: Annotated[
        float,
        Meta(
            ge=0,
            le=604_800,
            extra=_unit("seconds"),
            description=(
                "for running responses to end in a worker that was replaced; as "
                "long as a response may take"
            ),
        ),
    ] = 14_400.0
    access_log: Annotated[
        str, Meta(min_length=1, description='file, "-" for standard output, or "off"')
    ] = "-"
    access_log_format: Annotated[
        Literal["combined", "json"], Meta(description="one line for each response")
    ] = "combined"
    step_bytes: Annotated[
        int,
        Meta(
            ge=16_384,
            le=16_777_216,
            extra=_unit("bytes"),
            description="that one connection may send before the others have their turn",
        ),
    ] = 1_048_576
    io_threads: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            extra=_unit("threads"),
            description="of a worker for each store, waiting for its disk",
        ),
    ] = 16
    cold_pages: Annotated[
        Literal["second-read", "keep", "drop"],
        Meta(
            description=(
                "what becomes of pages read from disk for one response: kept from "
                "the second reading on, always, or never"
            ),
        ),
    ] = "second-read"
    open_files: Annotated[
        int,
        Meta(ge=16, le=1_000_000, extra=_unit("files"), description="kept open by a worker"),
    ] = 1_024
    small_object_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_048_576,
            extra=_unit("bytes"),
            description=(
                "up to which an object is kept in memory and sent in one piece with "
                "its head (playlists); 0 for none"
            ),
        ),
    ] = 32_768
    notsent_lowat_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_073_741_824,
            extra=_unit("bytes"),
            description=(
                "not yet sent, up to which a socket asks for more, 0 for the "
                "kernel's choice; bounds what a connection pins in memory"
            ),
        ),
    ] = 0
    limits: Limits = msgspec.field(default_factory=Limits)


class StoreSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One directory of content."""

    path: Annotated[str, Meta(min_length=1, description="directory that holds the objects")]


class Appliance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this is."""

    id: Annotated[
        str,
        Meta(min_length=1, max_length=255, description="name in reports; default: the host name"),
    ] = msgspec.field(default_factory=socket.gethostname)
    site: Annotated[
        str, Meta(max_length=255, description="appliances of one site share fill and routes")
    ] = ""


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole configuration. `file` is where it came from, empty without a file."""

    appliance: Appliance = msgspec.field(default_factory=Appliance)
    serve: Serve = msgspec.field(default_factory=Serve)
    store: Annotated[list[StoreSettings], Meta(min_length=1, description="one table for each disk")]
    file: str = ""

    @property
    def worker_count(self) -> int:
        """How many workers to run."""
        return os.cpu_count() or 1 if self.serve.workers == "auto" else self.serve.workers


# -- making settings -----------------------------------------------------------------------------


def load_settings(file: str) -> Settings:
    """Read a configuration file. Raises SettingsError with every fault in it."""
    try:
        text = Path(file).read_bytes()
        values = tomllib.loads(text.decode())
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file}: not TOML: {error}"]) from error
    return _build(values, file)


def settings_from_directories(
    directories: Sequence[str],
    listen: Sequence[str] = (),
    workers: str | int | None = None,
    base: str | None = None,
) -> Settings:
    """Settings of a command line, over those of the file `base` if there is one.

    Raises SettingsError.
    """
    values: dict[str, Any] = {}
    if base is not None:
        settings = load_settings(base)
        values = msgspec.to_builtins(settings)
        del values["file"]
    serve = values.setdefault("serve", {})
    if directories:
        values["store"] = [{"path": os.path.abspath(path)} for path in directories]
    if listen:
        serve["listen"] = list(listen)
    if workers is not None:
        serve["workers"] = workers
    return _build(values, base or "")


def _build(values: Mapping[str, Any], file: str) -> Settings:
    faults = list(_find_faults(Settings, values, ""))
    if not faults:
        settings = _resolve_paths(msgspec.convert({**values, "file": file}, Settings), file)
        faults = list(_find_contradictions(settings))
        if not faults:
            return settings
    prefix = f"{file}: " if file else ""
    raise SettingsError([prefix + fault for fault in faults])


def _resolve_paths(settings: Settings, file: str) -> Settings:
    """Paths of a file are relative to its folder."""
    folder = Path(file).resolve().parent if file else Path.cwd()
    stores = [StoreSettings(path=str(folder / store.path)) for store in settings.store]
    serve = settings.serve
    if serve.access_log not in ("-", "off"):
        serve = msgspec.structs.replace(serve, access_log=str(folder / serve.access_log))
    return msgspec.structs.replace(settings, store=stores, serve=serve)


# -- finding faults ------------------------------------------------------------------------------


def _find_faults(shape: type[Struct], values: object, path: str) -> Iterator[str]:
    """A line for each key that is unknown, missing, or has a value that is not allowed."""
    if not isinstance(values, Mapping):
        yield f"{path} = {_show(values)}: must be a table"
        return
    hints = typing.get_type_hints(shape, include_extras=True)
    hints.pop("file", None)
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        if key not in hints:
            yield f"{where}: unknown key{_suggest(key, hints)}"
        else:
            yield from _find_value_faults(hints[key], value, where)
    for name in msgspec.structs.fields(shape):
        if name.required and name.name not in values:
            where = f"{path}.{name.name}" if path else name.name
            yield f"{where}: missing; must be {_allowed(hints[name.name])}"


def _find_value_faults(hint: Any, value: object, where: str) -> Iterator[str]:
    inner, _ = _unwrap(hint)
    if isinstance(inner, type) and issubclass(inner, Struct):
        yield from _find_faults(inner, value, where)
        return
    element = _table_of_list(inner)
    if element is not None and isinstance(value, list) and value:
        for place, table in enumerate(value):
            yield from _find_faults(element, table, f"{where}[{place}]")
        return
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        yield f"{where} = {_show(value)}: must be {_allowed(hint)}"


def _unwrap(hint: Any) -> tuple[Any, Meta | None]:
    if typing.get_origin(hint) is Annotated:
        inner, meta = typing.get_args(hint)[:2]
        return inner, meta
    return hint, None


def _table_of_list(hint: Any) -> type[Struct] | None:
    """The Struct S of a hint `list[S]`."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list and issubclass(arguments[0], Struct):
        return typing.cast("type[Struct]", arguments[0])
    return None


def _suggest(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(sorted(known))}"


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _allowed(hint: Any) -> str:
    """What a setting may be, in words."""
    inner, meta = _unwrap(hint)
    origin = typing.get_origin(inner)
    if origin is Literal:
        return " or ".join(f'"{choice}"' for choice in typing.get_args(inner))
    if origin is list:
        (element,) = typing.get_args(inner)
        return "a list of tables" if _table_of_list(inner) else f"a list of {_plural(element)}"
    if origin is not None:
        return " or ".join(_allowed(choice) for choice in typing.get_args(inner))
    return _allowed_scalar(inner, meta)


def _plural(element: Any) -> str:
    return "strings" if element is str else f"{element.__name__}s"


def _allowed_scalar(inner: Any, meta: Meta | None) -> str:
    if inner is str:
        return "a text of printable ASCII" if meta and meta.pattern else "a text that is not empty"
    name = "a whole number" if inner is int else "a number"
    if meta is None:
        return name
    low = f"above {meta.gt:,}" if meta.gt is not None else f"from {meta.ge:,}"
    unit = (meta.extra or {}).get("unit", "")
    return f"{name} {low} to {meta.le:,} {unit}".rstrip()


def _find_contradictions(settings: Settings) -> Iterator[str]:
    """What each value alone does not show."""
    seen: set[str] = set()
    for place, address in enumerate(settings.serve.listen):
        where = f"serve.listen[{place}] = {address!r}"
        try:
            parsed = parse_address(address)
        except ValueError as error:
            yield f"{where}: {error}"
            continue
        if str(parsed) in seen and parsed.port != 0:
            yield f"{where}: listed twice"
        seen.add(str(parsed))
    yield from _find_store_faults([Path(store.path) for store in settings.store])


def _find_store_faults(paths: Sequence[Path]) -> Iterator[str]:
    for place, path in enumerate(paths):
        where = f"store[{place}].path = {str(path)!r}"
        try:
            os.listdir(path)
        except OSError as error:
            yield f"{where}: {error.strerror}; must be a directory that can be read"
            continue
        for other_place, other in enumerate(paths[:place]):
            if path.resolve() == other.resolve():
                yield f"{where}: the same directory as store[{other_place}]"
            elif path.resolve().is_relative_to(other.resolve()) or other.resolve().is_relative_to(
                path.resolve()
            ):
                yield f"{where}: one of this and store[{other_place}] lies within the other"


# -- showing -------------------------------------------------------------------------------------

_SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    ("[appliance]", Appliance),
    ("[serve]", Serve),
    ("[serve.limits]", Limits),
    ("[[store]]", StoreSettings),
)


def describe_settings() -> str:
    """All settings as Markdown tables, for docs/settings.md."""
    parts = ["# Settings\n\nThis page is made from the code by `python -m ocaserve.settings`.\n"]
    for title, shape in _SECTIONS:
        hints = typing.get_type_hints(shape, include_extras=True)
        parts.append(f"\n## {title}\n\n{(shape.__doc__ or '').strip()}\n\n")
        parts.append("| key | default | allowed | what, and why |\n|---|---|---|---|\n")
        for info in msgspec.structs.fields(shape):
            _, meta = _unwrap(hints[info.name])
            if meta is None:
                continue
            parts.append(
                f"| `{info.name}` | {_show_default(info)} | {_allowed(hints[info.name])} "
                f"| {meta.description} |\n"
            )
    return "".join(parts)


def _show_default(info: msgspec.structs.FieldInfo) -> str:
    if info.required:
        return "required"
    if info.name == "id":
        return "host name"
    value = info.default if info.default is not msgspec.NODEFAULT else info.default_factory()
    return f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    print(describe_settings(), end="")
