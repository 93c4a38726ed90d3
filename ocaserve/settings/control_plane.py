"""The settings of `ocaserve fleet serve`, as its supervisor and its workers have them."""

from __future__ import annotations

from ocaserve.addresses import parse_address
from ocaserve.settings.control import Control
from ocaserve.settings.fleet import Fleet
from ocaserve.settings.ledger import LedgerSettings
from ocaserve.settings.model import Settings
from ocaserve.settings.serve import Serve
from ocaserve.settings.tls import Certificate, Tls


class ControlPlane(Settings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Those of a server that has clients and no stores, and `fleet`, of which they are made."""

    fleet: Fleet


def control_plane_of(fleet: Fleet, file: str = "") -> ControlPlane:
    """Workers listen for clients, by TLS on TCP addresses where there is a certificate."""
    tcp = [each for each in fleet.clients if not parse_address(each).path]
    secure = tcp if fleet.certificate else []
    return ControlPlane(
        fleet=fleet,
        file=file,
        store=[],
        serve=Serve(
            listen=[each for each in fleet.clients if each not in secure],
            workers=fleet.workers,
            access_log=fleet.access_log,
            access_log_format=fleet.access_log_format,
            drain_s=fleet.drain_s,
            reload_drain_s=fleet.drain_s,
            limits=fleet.limits,
        ),
        tls=Tls(
            listen=secure,
            certificates=[Certificate(cert=fleet.certificate, key=fleet.key or fleet.certificate)]
            * bool(secure),
        ),
        control=Control(listen=[]),
        ledger=LedgerSettings(is_kept=False),
    )
