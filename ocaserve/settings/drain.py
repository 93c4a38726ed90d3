"""`[drain]`: how the appliance is taken out of service, and when it takes itself out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from ocaserve.schema import choice, number

_WEEK_S = 604_800


class Drain(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the appliance is taken out of service."""

    deadline_s: Annotated[
        float,
        number(
            "seconds", 0, _WEEK_S,
            "from the begin of a drain until new requests are turned away: players keep to an "
            "appliance for as long as a film lasts. Running responses still end",
        ),
    ] = 7_200.0  # fmt: skip
    quiet_bits_per_s: Annotated[
        int,
        number(
            "bit/s", 0, 1_000_000_000_000,
            "sent, below which a draining appliance is drained: less than one stream of video",
        ),
    ] = 1_000_000  # fmt: skip
    quiet_s: Annotated[
        float,
        number(
            "seconds", 0, 3_600,
            "that it must be so: players fetch a segment, and pause for about 10 s",
        ),
    ] = 20.0  # fmt: skip
    lost_contact: Annotated[
        Literal["serve", "withdraw"],
        choice(
            "when the control plane cannot be reached; `withdraw` says 503 in /healthz until it "
            "can, so that nobody is sent to an appliance that nobody steers"
        ),
    ] = "serve"
