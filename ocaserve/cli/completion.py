"""`completion`: what a shell needs to complete our commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script with which SHELL completes commands and options.

    \b
    bash: ocaserve completion bash > /etc/bash_completion.d/ocaserve
    zsh:  ocaserve completion zsh > "${fpath[1]}/_ocaserve"
    fish: ocaserve completion fish > ~/.config/fish/completions/ocaserve.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click has all of the choices"
    program = context.find_root().command
    click.echo(kind(program, {}, "ocaserve", "_OCASERVE_COMPLETE").source())
