"""`python -m ocaserve`, and the command `ocaserve`."""

from ocaserve.startup import prepare


def start() -> None:
    """Does not return."""
    prepare()
    from ocaserve.cli import main

    main(prog_name="ocaserve")


if __name__ == "__main__":
    start()
