"""Values of sysctl(3) by name, on FreeBSD. Elsewhere all are unknown."""

from __future__ import annotations

import ctypes
import sys
from typing import Any


def _find_library() -> Any:
    return ctypes.CDLL(None) if sys.platform.startswith("freebsd") else None


def read_sysctl(name: str, library: Any = None) -> bytes | None:
    """The raw value; None where there is no such name. `library`: the C library, for tests."""
    library = library or _find_library()
    if library is None:
        return None
    size = ctypes.c_size_t()
    if library.sysctlbyname(name.encode(), None, ctypes.byref(size), None, 0):
        return None
    buffer = ctypes.create_string_buffer(size.value)
    if library.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, 0):
        return None
    return buffer.raw[: size.value]


def sysctl_text(name: str, library: Any = None) -> str | None:
    """A value that is a string."""
    raw = read_sysctl(name, library)
    return None if raw is None else raw.rstrip(b"\0").decode("utf-8", "replace")


def sysctl_number(name: str, library: Any = None) -> int | None:
    """A value that is a number of four or eight bytes."""
    raw = read_sysctl(name, library)
    return int.from_bytes(raw, sys.byteorder, signed=True) if raw else None
