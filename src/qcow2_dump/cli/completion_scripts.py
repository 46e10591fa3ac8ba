"""The scripts that make shells complete. They ask the program itself, so they know nothing."""

from qcow2_dump.cli.modern import COMPLETE

__all__ = ["completion_script"]

# Names of snapshots come from images: no script expands or evaluates what it is given.
_BASH = r"""# bash completion for qcow2-dump
_qcow2_dump() {
    local line word files= current=${COMP_WORDS[COMP_CWORD]}
    local -a paths
    COMPREPLY=()
    while IFS= read -r line; do
        word=${line%%$'\t'*}
        if [[ $word == :files ]]; then
            files=yes
        else
            printf -v word %q "$word"
            COMPREPLY+=("$word")
        fi
    done < <(
        command qcow2-dump @COMPLETE@ bash "$((COMP_CWORD - 1))" "${COMP_WORDS[@]:1}" 2>/dev/null
    )
    [[ $files ]] || return 0
    if ((${#COMPREPLY[@]} == 0)); then
        compopt -o bashdefault -o default 2>/dev/null
        return 0
    fi
    mapfile -t paths < <(compgen -f -- "$current")
    COMPREPLY+=("${paths[@]}")
    compopt -o filenames 2>/dev/null
    return 0
}
complete -F _qcow2_dump qcow2-dump
"""

_ZSH = r"""#compdef qcow2-dump
_qcow2_dump() {
    local line files=
    local -a typed plain shown
    typed=("${(@Q)words[2,-1]}")
    command qcow2-dump @COMPLETE@ zsh $((CURRENT - 2)) "${typed[@]}" 2>/dev/null |
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            files=yes
        else
            plain+=("${line%%$'\t'*}")
            shown+=("${line/$'\t'/  }")
        fi
    done
    (( $#plain )) && compadd -l -d shown -a -- plain
    [[ -n $files ]] && _files
}
if [[ ${funcstack[1]} == _qcow2_dump ]]; then
    _qcow2_dump "$@"
else
    compdef _qcow2_dump qcow2-dump
fi
"""

_FISH = r"""# fish completion for qcow2-dump
function __qcow2_dump_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l after (commandline -op)
    set -l index (math (count $before) - 1)
    for word in $before
        set -e after[1]
    end
    set -e before[1]
    test -n "$current"; and set -e after[1]
    for line in (command qcow2-dump @COMPLETE@ fish $index $before "$current" $after 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            printf '%s\n' $line
        end
    end
end
complete -c qcow2-dump -f -a '(__qcow2_dump_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion_script(shell: str) -> list[str]:
    """The lines of the script for a shell. Raises KeyError for one that there is none for."""
    return _SCRIPTS[shell].replace("@COMPLETE@", COMPLETE).splitlines()
