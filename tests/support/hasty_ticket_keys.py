"""The program, with keys of session tickets that are changed every other second."""

from __future__ import annotations

from unittest.mock import patch

from ocaserve.cli import main

if __name__ == "__main__":
    with patch("ocaserve.serving.tls_contexts._PERIOD_S", 2.0):
        main(prog_name="ocaserve")
