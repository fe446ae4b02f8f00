"""Completion for zsh, by its _arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rendering.kinds import Kind, find_children, kind_of, list_branches, options_of
from rendering.verbs import GLOBAL_OPTIONS, Argument, Command, list_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADING = r"""#compdef byway
# zsh completion for byway(1).
# Made by script/render from the table of verbs: do not edit.

_byway_unit_files() {
    systemctl $1 list-unit-files --type=service --no-legend --plain 2>/dev/null
}

_byway_program() {
    local -a names
    case $PREFIX in
        unit:*)
            names=(${(f)"$(_byway_unit_files --system)"})
            names=(${${names%% *}:#*@.service}) ;;
        user-unit:*)
            names=(${(f)"$(_byway_unit_files --user)"})
            names=(${${names%% *}:#*@.service}) ;;
        desktop:*)
            names=({~/.local,/usr/local,/usr}/share/applications/**/*.desktop(N)
                {~/.local/share,/var/lib}/flatpak/exports/share/applications/**/*.desktop(N)
                /var/lib/snapd/desktop/applications/**/*.desktop(N))
            names=(${(u)${${names#*/applications/}%.desktop}//\//-}) ;;
        flatpak:*)
            names=(${(f)"$(flatpak list --app --columns=application 2>/dev/null)"}) ;;
        snap:*)
            names=(${(f)"$(snap list 2>/dev/null)"})
            names=(${${names[2,-1]}%% *}) ;;
        *)
            _alternative 'commands:program:_command_names -e' 'files:file:_files' \
                'kinds:kind:(unit\: user-unit\: desktop\: flatpak\: snap\:)'
            return ;;
    esac
    compset -P '*:'
    compadd -a names
}

_byway_listed_app() {
    local -a apps
    apps=(${${(f)"$(byway list 2>/dev/null)"}%%  \(*})
    compadd -a apps
}

"""
_ACTIONS = {
    Kind.COMMAND: "_normal",
    Kind.DIRECTORY: "_files -/",
    Kind.FILE: "_files",
    Kind.LISTED_APP: "_byway_listed_app",
    Kind.NOTHING: "",
    Kind.PROGRAM: "_byway_program",
}


def render_zsh() -> str:
    """Return completions/_byway."""
    lines = [line for words in list_branches() for line in _render_branch(words)]
    lines += [line for command in list_commands() for line in _render_command(command)]
    return _HEADING + "\n".join(lines) + '\n_byway "$@"\n'


def _function(words: tuple[str, ...]) -> str:
    return "_".join(("_byway", *words))


def _render_branch(words: tuple[str, ...]) -> Iterator[str]:
    children = find_children(words)
    options = GLOBAL_OPTIONS if not words else GLOBAL_OPTIONS[:1]
    yield f"{_function(words)}() {{"
    yield "    local context state state_descr line"
    yield "    local -a verbs"
    yield "    typeset -A opt_args"
    yield "    _arguments -C \\"
    for option in options:
        yield f"        {_render_option(option)} \\"
    yield "        '1:verb:->verb' '*::argument:->argument' && return"
    yield "    case $state in"
    yield "        verb)"
    described = " ".join(f"'{name}:{_escape(text)}'" for name, text in children.items())
    yield f"            verbs=({described})"
    yield "            _describe -t verbs verb verbs ;;"
    yield "        argument)"
    yield "            case $line[1] in"
    for name in children:
        yield f"                {name}) {_function((*words, name))} ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "}"
    yield ""


def _render_command(command: Command) -> Iterator[str]:
    yield f"{_function(command.words)}() {{"
    yield "    _arguments -s \\"
    for option in options_of(command):
        yield f"        {_render_option(option)} \\"
    for positional in command.positionals:
        yield f"        {_render_positional(positional, command.name)} \\"
    yield "        && return"
    yield "}"
    yield ""


def _render_option(option: Argument) -> str:
    value = ""
    if option.choices:
        value = f":{option.flags[-1].lstrip('-')}:({' '.join(option.choices)})"
    elif option.metavar:
        value = f":{option.metavar.lower()}:{_ACTIONS[kind_of(option)]}"
    ends = "(- *)" if option.flags[-1] in ("--help", "--version") else f"({' '.join(option.flags)})"
    flags = [_spell(flag, has_value=bool(value)) for flag in option.flags]
    spelled = flags[0] if len(flags) == 1 else f"'{{{','.join(flags)}}}'"
    return f"'{ends}{spelled}[{_escape(option.meaning)}]{value}'"


def _spell(flag: str, *, has_value: bool) -> str:
    if not has_value:
        return flag
    return f"{flag}=" if flag.startswith("--") else f"{flag}+"


def _render_positional(positional: Argument, command: str) -> str:
    if positional.choices:
        separator = "::" if positional.optional else ":"
        choices = " ".join(positional.choices)
        return f"'1{separator}{positional.metavar.lower()}:({choices})'"
    kind = kind_of(positional, command)
    count = "*" if positional.repeats else "1"
    # Two colons: the words from here on are a command line of their own.
    separator = "::" if kind is Kind.COMMAND else ":"
    return f"'{count}{separator}{positional.metavar.lower()}:{_ACTIONS[kind]}'"


def _escape(text: str) -> str:
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    return text.replace("'", "'\\''")
