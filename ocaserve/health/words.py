"""How numbers are said in reasons."""

from __future__ import annotations

_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(share: float) -> str:
    """0.874 is "87 %"; less than one per cent keeps two digits."""
    return f"{share * 100:.2g} %" if 0 < share < 0.01 else f"{share * 100:.0f} %"


def amount(value: float, unit: str) -> str:
    """1.5e9 of "bit/s" is "1.5 Gbit/s"."""
    for size, prefix in _STEPS:
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """To the two digits that matter: "35 ms", "4.2 s", "3 h", "12 days"."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
