"""`python -m ocaserve`."""

from ocaserve.cli import main

main(prog_name="ocaserve")
