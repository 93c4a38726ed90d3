"""What an appliance answers: how it is, a speed test where one is offered, and its objects."""

from __future__ import annotations

import secrets

from ocaserve.metrics import CounterSlot
from ocaserve.protocol.admission import Admission
from ocaserve.serving.answerer import Answerer
from ocaserve.serving.engine import Engine
from ocaserve.serving.healthz import Healthz
from ocaserve.serving.missing import MissingObjects, elsewhere_of
from ocaserve.serving.object_gate import ObjectGate
from ocaserve.serving.object_stock import ObjectStock
from ocaserve.serving.speed_test import SpeedTest, open_content
from ocaserve.serving.stored_content import StoredContent
from ocaserve.settings import Settings
from ocaserve.signing import policy_of


def make_appliance(settings: Settings, slot: CounterSlot, engine: Engine) -> Answerer:
    """The answerer of a worker that serves what is in the stores. Raises OSError."""
    serve = settings.serve
    admission = Admission(has_speedtest=serve.speedtest, signing=policy_of(settings.signing))
    gate = ObjectGate(admission, engine.clock, engine.counts)
    stock = ObjectStock(settings, slot, engine.loop, engine.policy)
    boundary = secrets.token_hex(16).encode()
    policy, clock, counts = engine.policy, engine.clock, engine.counts
    missing = MissingObjects(elsewhere_of(settings), policy, clock, counts)
    answerer: Answerer = StoredContent(stock, gate, policy, clock, missing, boundary, counts)
    if serve.speedtest:
        content = open_content(engine.loop, policy, stock.catalogue)
        answerer = SpeedTest(content, gate, policy, clock, boundary, answerer)
    return Healthz(engine.stance, policy, clock, answerer)
