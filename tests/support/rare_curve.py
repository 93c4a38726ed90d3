"""The program, with a curve for keys that no client guesses: each is asked for a second hello.

With `WITH_SOCKETS` in the environment OpenSSL has the sockets, as in `ktls_without_kernel`.
"""

from __future__ import annotations

import os
import ssl
from contextlib import ExitStack
from unittest.mock import patch

from ocaserve.cli import main
from ocaserve.serving.tls_contexts import set_up
from ocaserve.settings import Tls


def set_up_with_it(context: ssl.SSLContext, tls: Tls) -> None:
    set_up(context, tls)
    context.set_ecdh_curve("secp384r1")


if __name__ == "__main__":
    with ExitStack() as stack:
        stack.enter_context(patch("ocaserve.serving.handshake.set_up", set_up_with_it))
        if os.environ.get("WITH_SOCKETS"):
            stack.enter_context(patch("ocaserve.serving.handshake.why_not", lambda: None))
            stack.enter_context(patch("ocaserve.serving.handshake.works", lambda _: True))
        main(prog_name="ocaserve")
