"""Whether the kernel holds the clock for synchronised: ntp_adjtime(2), on Linux and FreeBSD.

The first fields of its structure are the same on both (unsigned modes, then long offset, freq,
maxerror, esterror, then int status), and asking changes nothing and needs no privilege.
"""

from __future__ import annotations

import ctypes

_WORDS = 64  # larger than the structure on any system
_MAX_ERROR, _STATUS = 3, 5  # places of longs
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5  # the state of a clock that nobody has set
_MICROSECOND = 1e-6


def ask_clock() -> tuple[bool | None, float | None]:
    """(whether the clock is synchronised, its largest error in seconds); None: unknown."""
    try:
        ask = ctypes.CDLL(None).ntp_adjtime
    except (OSError, AttributeError):  # a C library without it
        return None, None
    words = (ctypes.c_long * _WORDS)()
    return _judge(ask(ctypes.byref(words)), words[_MAX_ERROR], words[_STATUS])


def _judge(state: int, max_error_us: int, status: int) -> tuple[bool | None, float | None]:
    if state < 0:  # a container may forbid it
        return None, None
    is_synchronised = state != _TIME_ERROR and not status & _STA_UNSYNC
    return is_synchronised, max_error_us * _MICROSECOND
