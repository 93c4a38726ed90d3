"""What the kernel can do for TLS, and the one question that must be asked before it is trusted.

Linux takes the keys of a connection (kTLS, Documentation/networking/tls.rst) and then encrypts what
`sendfile` sends. That a socket is prepared for it does not say that the kernel has the keys: with a
cipher that it can't do, OpenSSL leaves the socket prepared and without keys, and `sendfile` would
send plaintext (measured, Linux 6.1 without the module for ChaCha20). Only `has_keys` says so.

FreeBSD has it too, but there it is off: in software it has sent corrupt data after partial writes
(openssl#23824; opnsense/src#296, July 2026).
"""

from __future__ import annotations

import errno
import socket
import sys

_SOL_TLS = 282  # linux/socket.h
_TLS_TX = 1  # linux/tls.h
_INFO_BYTES = 4  # struct tls_crypto_info: version and cipher. A longer answer would hold the key
_TCP_ULP = 31  # linux/tcp.h


def has_keys(sock: socket.socket) -> bool:
    """Whether the kernel encrypts what is sent on this socket."""
    try:
        info = sock.getsockopt(_SOL_TLS, _TLS_TX, _INFO_BYTES)
    except OSError:  # no TLS on this socket (ENOPROTOOPT), or none of its keys (EBUSY)
        return False
    return len(info) == _INFO_BYTES and any(info)


def why_not() -> str | None:
    """Why this system's kernel can't do TLS; None if it says that it can."""
    if not sys.platform.startswith("linux"):
        return "is used on Linux alone"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
        except OSError as error:
            if error.errno == errno.ENOTCONN:  # it is there, and only wants a connection
                return None
            return f"is not in this kernel ({error.strerror}); try `modprobe tls`"
    return None
