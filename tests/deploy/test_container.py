"""The Containerfile: what it copies is there. `make test-container` builds and runs it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "deploy" / "Containerfile").read_text()


def test_what_it_copies_is_there() -> None:
    """From the source alone: nothing that lies about in a work tree gets into an image."""
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE)
    sources = [source for words in copied for source in words.split()]
    assert {"ocaserve", "bgp", "deploy/requirements.lock"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "." not in sources


def test_least_privilege() -> None:
    """Libraries by their hashes; run by a user of its own; the command drops what it can."""
    assert "--require-hashes --only-binary :all:" in TEXT
    assert re.search(r"^USER ocaserve$", TEXT, re.MULTILINE)
    assert {"--cap-drop=all", "--read-only"} <= set(TEXT.split())
