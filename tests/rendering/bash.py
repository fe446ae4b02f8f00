"""Completion for bash, which needs nothing but bash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rendering.kinds import (
    Kind,
    find_children,
    kind_of,
    list_branches,
    option_of_help,
    options_of,
    value_flags,
)
from rendering.verbs import GLOBAL_OPTIONS, Argument, Command, list_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

_FUNCTIONS = r"""# bash completion for byway(1).
# Made by script/render from the table of verbs: do not edit.
# shellcheck shell=bash

_byway_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }
_byway_nothing() { :; }
_byway_file() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$1"); }
_byway_directory() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$1")
}

_byway_command() {
    case $1 in
        */*) _byway_file "$1" ;;
        *) mapfile -t COMPREPLY < <(compgen -c -- "$1" | sort -u) ;;
    esac
}

# With --user those of the user's manager.
_byway_services() {
    systemctl "$@" list-unit-files --type=service --no-legend --plain 2>/dev/null |
        sed -n '/^[^ ]*@\.service /d; s/^\([^ ]*\.service\) .*/\1/p'
}

_byway_desktop_entries() {
    local directory
    for directory in {~/.local/share,/usr/local/share,/usr/share}/applications \
        {~/.local/share,/var/lib}/flatpak/exports/share/applications \
        /var/lib/snapd/desktop/applications; do
        if [ -d "$directory" ]; then
            find -L "$directory" -name '*.desktop' -printf '%P\n' 2>/dev/null
        fi
    done | sed 's/\.desktop$//; s|/|-|g; / /d' | sort -u
}

_byway_names_of() {
    case $1 in
        unit) _byway_services ;;
        user-unit) _byway_services --user ;;
        desktop) _byway_desktop_entries ;;
        flatpak) flatpak list --app --columns=application 2>/dev/null ;;
        snap) snap list 2>/dev/null | sed '1d; s/ .*//' ;;
    esac
}

_byway_program() {
    local kind
    case $1 in
        unit:* | user-unit:* | desktop:* | flatpak:* | snap:*)
            _byway_words "$(_byway_names_of "${1%%:*}" | sed "s/^/${1%%:*}:/")" "$1" ;;
        */*) _byway_file "$1" ;;
        *)
            _byway_command "$1"
            for kind in unit: user-unit: desktop: flatpak: snap:; do
                if [[ $kind = "$1"* ]]; then
                    COMPREPLY+=("$kind")
                    compopt -o nospace 2>/dev/null
                fi
            done ;;
    esac
}

_byway_listed_app() {
    local app
    while IFS= read -r app; do
        app=${app%%  (*}
        if [[ $app = "$1"* ]]; then COMPREPLY+=("$app"); fi
    done < <(byway ${config:+--config "$config"} list 2>/dev/null)
}

# Joins what bash split at = and :, so that words are what byway gets.
_byway_join() {
    local part glue=''
    words=()
    for part in "${COMP_WORDS[@]:0:COMP_CWORD + 1}"; do
        if [[ ${#words[@]} -gt 1 && ( -n $glue || $part = [=:] ) ]]; then
            words[-1]+=$part
        else
            words+=("$part")
        fi
        glue=''
        if [[ $part = [=:] ]]; then glue=1; fi
    done
}
"""
_MAIN = r"""
_byway() {{
    local word command='' previous='' config='' ends_options='' index words prefix
    COMPREPLY=()
    _byway_join
    word=${{words[-1]}}
    for ((index = 1; index < ${{#words[@]}} - 1; index++)); do
        case ${{words[index]}} in
            --config=*) config=${{words[index]#*=}} ;;
            {value_flags})
                if ((index == ${{#words[@]}} - 2)); then
                    previous=${{words[index]}}
                elif [ "${{words[index]}}" = --config ]; then
                    config=${{words[index + 1]}}
                fi
                index=$((index + 1)) ;;
            --) ends_options=1 ;;
            -*) ;;
            *) command+=${{command:+ }}${{words[index]}} ;;
        esac
    done
    _byway_reply
    # bash replaces only what follows the last break.
    prefix=${{word%"${{word##*[=:]}}"}}
    if [[ -n $prefix && $COMP_WORDBREAKS = *"${{prefix: -1}}"* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"$prefix"}}")
    fi
}}
"""


def render_bash() -> str:
    """Return completions/byway.bash."""
    flags = " | ".join(value_flags())
    lines = [*_render_reply(), "", "complete -F _byway byway"]
    return _FUNCTIONS + _MAIN.format(value_flags=flags) + "\n" + "\n".join(lines) + "\n"


def _render_reply() -> Iterator[str]:
    yield "# $command is what is there so far, $word what to complete, $previous the option before."
    yield "_byway_reply() {"
    yield "    case $previous:$word in"
    yield from _render_values()
    yield "    esac"
    yield "    case $command in"
    for words in list_branches():
        yield from _render_branch(words)
    for command in list_commands():
        yield from _render_command(command)
    yield "    esac"
    yield "}"


def _render_values() -> Iterator[str]:
    """Yield what an option's value can be, behind a blank or behind =."""
    options = [GLOBAL_OPTIONS[2], *(o for c in list_commands() for o in c.options if o.takes_value)]
    for option in dict.fromkeys(options):
        long = option.flags[-1]
        behind_blank = " | ".join(f"{flag}:*" for flag in option.flags)
        yield f"        {behind_blank}) {_offer(option)}; return ;;"
        if option.choices:
            values = " ".join(f"{long}={choice}" for choice in option.choices)
            yield f'        :{long}=*) _byway_words "{values}" "$word"; return ;;'
        elif kind_of(option) is Kind.FILE:
            yield f"        :{long}=*)"
            yield '            _byway_file "${word#*=}"'
            yield f'            COMPREPLY=("${{COMPREPLY[@]/#/{long}=}}")'
            yield "            return ;;"


def _offer(argument: Argument, command: str = "") -> str:
    if argument.choices:
        return f'_byway_words "{" ".join(argument.choices)}" "$word"'
    return f'_byway_{kind_of(argument, command)} "$word"'


def _render_branch(words: tuple[str, ...]) -> Iterator[str]:
    options = (option_of_help(),) if words else GLOBAL_OPTIONS
    offered = [*find_children(words), *(o.flags[-1] for o in options)]
    pattern = f'"{" ".join(words)}"' if words else '""'
    yield f'        {pattern}) _byway_words "{" ".join(offered)}" "$word" ;;'


def _render_command(command: Command) -> Iterator[str]:
    flags = " ".join(option.flags[-1] for option in options_of(command))
    options = f'if [[ $word = -* && -z $ends_options ]]; then _byway_words "{flags}" "$word"; fi'
    if not command.positionals:
        yield f'        "{command.name}")'
        yield f'            _byway_words "{flags}" "$word" ;;'
        return
    yield f'        "{command.name}" | "{command.name} "*)'
    positional = command.positionals[0]
    offer = _offer(positional, command.name)
    if kind_of(positional, command.name) is Kind.COMMAND:
        # What follows the command belongs to it.
        yield f'            if [[ $command = "{command.name} "* ]]; then'
        yield '                _byway_file "$word"'
        yield "                return"
        yield "            fi"
    yield f"            {options.removesuffix('; fi')}; else {offer}; fi ;;"
