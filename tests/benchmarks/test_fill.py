"""The bench of fill: its content, and its page."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fill.__main__ import _ROWS, _make_content, _render


def test_content(tmp_path: Path) -> None:
    """As many bytes as are asked for, the same sizes each time."""
    sizes = []
    for name in "ab":
        assert _make_content(tmp_path / name, 3_000_000) == 3_000_000
        sizes.append(sorted(file.stat().st_size for file in (tmp_path / name).iterdir()))
    assert sizes[0] == sizes[1]
    assert sum(sizes[0]) == 3_000_000


def test_page() -> None:
    """Each row with its bar, the median and the noise."""
    page = _render(3, 64, 8.0, {name: [1.0, 2.0, 4.0] for name, _, _ in _ROWS})
    assert "| that ÷ one copy | ≤ 1.35 | 2.00 [1.00 to 4.00] |" in page
