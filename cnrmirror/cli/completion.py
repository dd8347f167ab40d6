"""completion: the script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, get_completion_class

_VARIABLE = "_CNRMIRROR_COMPLETE"

# Readline breaks words at ':' and '@', which references have in them: so the line is taken, and
# of what is found, the part that readline has already is left out.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" words word begin="" kind value
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${words[-1]}"
    if [[ $word == *[:@]* && $COMP_WORDBREAKS == *[:@]* ]]; then
        begin="${word%%"${word##*[:@]}"}"
    fi
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$begin"}") ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """The script for bash 4.4 and later; it may be made where there is no bash."""

    source_template = _BASH

    @staticmethod
    def _check_version() -> None:
        pass


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes words in a shell.

    SHELL is bash, zsh or fish. Commands, options, packages, releases, channels, revisions, sources
    and targets are completed.

    \b
    echo 'eval "$(cnrmirror completion bash)"' >> ~/.bashrc
    echo 'eval "$(cnrmirror completion zsh)"' >> ~/.zshrc
    cnrmirror completion fish > ~/.config/fish/completions/cnrmirror.fish
    """
    root = click.get_current_context().find_root().command
    found = Bash if shell == "bash" else get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, "cnrmirror", _VARIABLE).source().strip())


COMMAND = completion
