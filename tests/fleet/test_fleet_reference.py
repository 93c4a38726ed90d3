"""The reference of the control plane: made from the code, and whole."""

from __future__ import annotations

from pathlib import Path

from ocaserve.fleet.fleet_reference import describe_fleet_reference, document_fleet_api

PAGE = Path(__file__).parent.parent.parent / "docs" / "fleet-api.md"


def test_page_is_as_the_code_says() -> None:
    """docs/fleet-api.md is what `make docs` makes of it."""
    assert PAGE.read_text() == describe_fleet_reference()


def test_both_addresses_are_there() -> None:
    """Each call where it is answered; paths have no patterns of the router."""
    page, paths = PAGE.read_text(), document_fleet_api()["paths"]
    assert {"/v1/steer", "/v1/what-if", "/v1/reports", "/r/{key}"} <= paths.keys()
    assert "http://127.0.0.1:8088/v1/steer" in page
    assert "http://127.0.0.1:8090/v1/reports" in page
    assert "\n| `ocaserve_fleet_decisions_total` | counter | `result` |" in page
