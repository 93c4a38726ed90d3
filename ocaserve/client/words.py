"""How things are said to people: without tokens, on one line, not without end."""

from __future__ import annotations

from ocaserve.logs.hiding import show

_MOST_BYTES = 300


def plain(text: str) -> str:
    """What came from outside, for a line of a terminal or a log."""
    shown = show(text.encode("utf-8", "backslashreplace"), _MOST_BYTES)
    return shown.decode("utf-8", "replace").encode("unicode_escape").decode("ascii")


def rate_text(bytes_per_s: float) -> str:
    """12,300,000 is "12.3 MB/s"."""
    if bytes_per_s >= 1e6:
        return f"{bytes_per_s / 1e6:.1f} MB/s"
    return f"{bytes_per_s / 1e3:.1f} kB/s"
