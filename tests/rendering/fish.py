"""Completion for fish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rendering.kinds import Kind, find_children, kind_of, list_branches, options_of, value_flags
from rendering.verbs import GLOBAL_OPTIONS, Argument, list_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

_FUNCTIONS = r"""# fish completion for byway(1).
# Made by script/render from the table of verbs: do not edit.

# The words so far that are neither options nor their values.
function __byway_words
    set -l skip
    set -l words
    for word in (commandline -opc)[2..]
        if set -q skip[1]
            set -e skip
            continue
        end
        switch $word
            case {value_flags}
                set skip 1
            case '-*'
            case '*'
                set -a words $word
        end
    end
    string join -- ' ' $words
end

function __byway_at
    set -l words (__byway_words)
    test "$words" = "$argv"
end

function __byway_in
    string match -q -- "$argv *" (__byway_words)' '
end

function __byway_programs
    set -l services list-unit-files --type=service --no-legend --plain
    switch (commandline -ct)
        case 'unit:*'
            systemctl $services 2>/dev/null |
                string replace -rf '^([^@ ]+(@[^. ]+)?\.service) .*' 'unit:$1'
        case 'user-unit:*'
            systemctl --user $services 2>/dev/null |
                string replace -rf '^([^@ ]+(@[^. ]+)?\.service) .*' 'user-unit:$1'
        case 'desktop:*'
            set -l shares ~/.local/share /usr/local/share /usr/share \
                {~/.local/share,/var/lib}/flatpak/exports/share /var/lib/snapd/desktop
            for share in $shares
                find -L $share/applications -name '*.desktop' -printf 'desktop:%P\n' 2>/dev/null
            end | string replace -r '\.desktop$' '' | string replace -a / - | sort -u
        case 'flatpak:*'
            flatpak list --app --columns=application 2>/dev/null | string replace -r '^' flatpak:
        case 'snap:*'
            snap list 2>/dev/null | tail -n +2 | string replace -r '^([^ ]+).*' 'snap:$1'
        case '*'
            __fish_complete_command
            printf '%b\n' 'unit:\tservice' 'user-unit:\tservice of users' \
                'desktop:\tdesktop entry' 'flatpak:\tflatpak' 'snap:\tsnap'
    end
end

function __byway_listed
    byway list 2>/dev/null | string replace -r '  \(.*' ''
end

complete -c byway -f
"""
_ACTIONS = {
    Kind.COMMAND: "-a '(__fish_complete_subcommand --fcs-skip=2)'",
    Kind.DIRECTORY: "-a '(__fish_complete_directories)'",
    Kind.FILE: "-F",
    Kind.LISTED_APP: "-a '(__byway_listed)'",
    Kind.NOTHING: "",
    Kind.PROGRAM: "-F -a '(__byway_programs)'",
}


def render_fish() -> str:
    """Return completions/byway.fish."""
    functions = _FUNCTIONS.replace("{value_flags}", " ".join(value_flags()))
    return functions + "\n".join((*_render_branches(), *_render_commands())) + "\n"


def _render_branches() -> Iterator[str]:
    for option in GLOBAL_OPTIONS:
        at = "" if option.metavar else "__byway_at"
        yield _render_option(at, option)
    for words in list_branches():
        at = " ".join(("__byway_at", *words))
        for name, meaning in find_children(words).items():
            yield f"complete -c byway -n '{at}' -a {name} -d {_quote(meaning)}"


def _render_commands() -> Iterator[str]:
    for command in list_commands():
        inside = f"__byway_in {command.name}"
        for option in options_of(command):
            if option not in GLOBAL_OPTIONS[1:]:
                yield _render_option(inside, option)
        for positional in command.positionals:
            action = _ACTIONS[kind_of(positional, command.name)]
            if positional.choices:
                action = f"-a '{' '.join(positional.choices)}'"
            yield f"complete -c byway -n '{inside}' {action}"


def _render_option(condition: str, option: Argument) -> str:
    parts = ["complete -c byway"]
    if condition:
        parts.append(f"-n '{condition}'")
    parts += [
        f"-l {flag.lstrip('-')}" if flag.startswith("--") else f"-s {flag.lstrip('-')}"
        for flag in option.flags
    ]
    if option.choices:
        parts.append(f"-x -a '{' '.join(option.choices)}'")
    elif option.metavar:
        parts.append(f"-r {_ACTIONS[kind_of(option)]}".rstrip())
    return " ".join([*parts, f"-d {_quote(option.meaning)}"])


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
