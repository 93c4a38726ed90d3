"""The program, made to believe that this kernel can do TLS: its start-up trial always succeeds.

The gate on each connection is left as it is. So every connection is one whose keys the kernel did
not take, and must be encrypted by OpenSSL all the same.
"""

from __future__ import annotations

from unittest.mock import patch

from ocaserve.cli import main

if __name__ == "__main__":
    with (
        patch("ocaserve.serving.handshake.why_not", lambda: None),
        patch("ocaserve.serving.handshake.works", lambda _: True),
    ):
        main(prog_name="ocaserve")
