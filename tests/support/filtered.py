"""Runs a command under the restrictions of a systemd unit that need no systemd: its system-call
filter, and no memory that is both writable and executable.

    python -m tests.support.filtered UNIT COMMAND [ARGUMENT]...
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ALLOW = 0x7FFF0000  # seccomp.h: SCMP_ACT_ALLOW
_REFUSE = 0x00050000 | errno.EPERM  # SCMP_ACT_ERRNO
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_MDWE = 65  # Linux 6.3; older kernels answer EINVAL, and have only the filter


def calls_of(group: str) -> Iterator[str]:
    """The system calls of a group such as "@system-service", as this systemd has them."""
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    for word in re.findall(r"^\s+([@a-z0-9_-]+)$", told, re.MULTILINE):
        yield from _read(word)


def _read(word: str) -> Iterator[str]:
    yield from calls_of(word) if word.startswith("@") else [word]


def allowed_by(unit: str) -> set[str]:
    """What the unit's SystemCallFilter lines leave, as systemd.exec(5) combines them."""
    allowed = set(calls_of("@default"))
    for words in re.findall(r"^SystemCallFilter=(.+)$", unit, re.MULTILINE):
        calls = {call for word in words.lstrip("~").split() for call in _read(word)}
        allowed = allowed - calls if words.startswith("~") else allowed | calls
    return allowed


def restrict(unit: str) -> None:
    """Let this process, and what it becomes, do only what the unit allows."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_REFUSE)))
    for call in allowed_by(unit):
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number != -1:  # not of this kernel's architecture, or newer than the library
            seccomp.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0)
    if seccomp.seccomp_load(context):
        raise OSError("the filter could not be loaded")


if __name__ == "__main__":
    restrict(Path(sys.argv[1]).read_text())
    os.execvp(sys.argv[2], sys.argv[2:])
