"""`Wire` over TLS. Who the server is, is not checked: the certificate it shows is the test's."""

from __future__ import annotations

import ssl

from tests.support.wire import Address, Wire


def client_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any certificate, and speaks one version if one is named."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsWire(Wire):
    """One connection; `tls` is its TLS."""

    tls: ssl.SSLSocket

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext | None = None,
        *,
        name: str | None = "origin.example",
        session: ssl.SSLSession | None = None,
        receive_buffer: int | None = None,
        timeout_s: float = 10,
    ) -> None:
        super().__init__(address, timeout_s=timeout_s, receive_buffer=receive_buffer)
        context = context or client_context()
        self.tls = context.wrap_socket(self.socket, server_hostname=name, session=session)
        self.socket = self.tls

    def certificate(self) -> bytes | None:
        """What the server showed, in DER."""
        return self.tls.getpeercert(binary_form=True)
