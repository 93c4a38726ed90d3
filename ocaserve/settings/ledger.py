"""`[ledger]`: bytes delivered, by client network."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from ocaserve.schema import flag, number, text


class LedgerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bytes of body sent to each client network, in five minutes and in hours."""

    is_kept: Annotated[bool, text("true or false", "keep a ledger")] = True
    directory: Annotated[
        str,
        text(
            "a directory",
            "that keeps it; it is made if its parent is there. Without one it is `ledger` in "
            "`appliance.state_directory`; without that too, it lasts as long as the appliance runs",
        ),
    ] = ""
    prefix_v4: Annotated[int, number("bits", 8, 32, "of an IPv4 address that make a network")] = 24
    prefix_v6: Annotated[
        int, number("bits", 16, 128, "of an IPv6 address that make a network: a site, mostly")
    ] = 48
    networks: Annotated[
        int,
        number(
            "networks", 1, 100_000,
            "told apart in one period, those that get most; the bytes of others are `other`",
        ),
    ] = 20_000  # fmt: skip
    five_minutes_days: Annotated[
        int,
        number("days", 1, 3_660, "that periods of five minutes are kept: a month and its bill"),
    ] = 40
    hours_days: Annotated[int, number("days", 1, 3_660, "that hours are kept")] = 400
    size_bytes: Annotated[
        int,
        number(
            "bytes", 1 << 20, 1 << 40,
            "of all periods together; beyond it large ones keep fewer networks, and where that is "
            "not enough the oldest go before their time",
        ),
    ] = 1 << 30  # fmt: skip
    records_days: Annotated[
        int,
        number(
            "days", 1, 3_660,
            "that closed records are kept for a fleet that was away; also how long the appliance "
            "may be off before a new book begins",
        ),
    ] = 40  # fmt: skip
    records_bytes: Annotated[
        int,
        number(
            "bytes", 1 << 20, 1 << 40,
            "of all records together; beyond it the oldest go before their time",
        ),
    ] = 1 << 30  # fmt: skip
    tell: Annotated[
        bool,
        flag(
            "push records where reports are pushed to, when `report.push_url` ends in "
            "`/v1/reports`, as that of a fleet does"
        ),
    ] = True
    tell_within_s: Annotated[
        float,
        number(
            "seconds", 0, 300,
            "after a period is closed: each appliance has a moment of its own in this time, so "
            "that a fleet's do not all push at once",
        ),
    ] = 60.0  # fmt: skip
