"""Which URLs are fetched from."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def is_http_url(url: str) -> bool:
    """Whether it is one that may be fetched from."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    is_plain = not re.search(r"[\x00-\x20\x7f]", url)
    return (
        is_plain
        and parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
    )
