"""`completion`: what makes the shell know the options."""

from argparse import Namespace

from qcow2_dump.cli.asked import Asked, CompletionRequest
from qcow2_dump.cli.pages import Example
from qcow2_dump.cli.subcommand import Operand, Options, Subcommand

__all__ = ["COMPLETION", "SHELLS"]

SHELLS = ("bash", "zsh", "fish")


def _no_options(options: Options) -> None:
    del options


def _completion(arguments: Namespace) -> Asked:
    return Asked(request=CompletionRequest(arguments.shell))


COMPLETION = Subcommand(
    name="completion",
    purpose="Print the script with which a shell completes the options, codes and snapshot names "
    "of qcow2-dump.",
    operands=(Operand("shell", "SHELL", "the shell that reads the script", choices=SHELLS),),
    add_options=_no_options,
    ask=_completion,
    examples=(
        Example("source <(qcow2-dump completion bash)", "in ~/.bashrc"),
        Example("source <(qcow2-dump completion zsh)", "in ~/.zshrc, after compinit"),
        Example("qcow2-dump completion fish | source", "in ~/.config/fish/config.fish"),
    ),
)
