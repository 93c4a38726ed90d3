"""The reference of the API: made from the code, and whole."""

from __future__ import annotations

import re
from pathlib import Path

from ocaserve.control.reference import describe_reference, document_api

PAGE = Path(__file__).parent.parent.parent / "docs" / "api.md"


def test_page_is_as_the_code_says() -> None:
    """docs/api.md is what `python -m ocaserve.control.reference` prints."""
    assert PAGE.read_text() == describe_reference()


def test_every_call_and_shape_is_there() -> None:
    """And what refers to a shape leads to one."""
    document, page = document_api(), PAGE.read_text()
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"\n### {method.upper()} {path}\n" in page
    headings = {name.lower() for name in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    assert headings == {name.lower() for name in document["components"]["schemas"]}
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= headings
