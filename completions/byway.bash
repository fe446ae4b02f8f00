# bash completion for byway(1).
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

_byway() {
    local word command='' previous='' config='' ends_options='' index words prefix
    COMPREPLY=()
    _byway_join
    word=${words[-1]}
    for ((index = 1; index < ${#words[@]} - 1; index++)); do
        case ${words[index]} in
            --config=*) config=${words[index]#*=} ;;
            --config | --json | -p | --profile | -u | --user | --confirm | --port | --idle | --scope)
                if ((index == ${#words[@]} - 2)); then
                    previous=${words[index]}
                elif [ "${words[index]}" = --config ]; then
                    config=${words[index + 1]}
                fi
                index=$((index + 1)) ;;
            --) ends_options=1 ;;
            -*) ;;
            *) command+=${command:+ }${words[index]} ;;
        esac
    done
    _byway_reply
    # bash replaces only what follows the last break.
    prefix=${word%"${word##*[=:]}"}
    if [[ -n $prefix && $COMP_WORDBREAKS = *"${prefix: -1}"* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
}

# $command is what is there so far, $word what to complete, $previous the option before.
_byway_reply() {
    case $previous:$word in
        --config:*) _byway_file "$word"; return ;;
        :--config=*)
            _byway_file "${word#*=}"
            COMPREPLY=("${COMPREPLY[@]/#/--config=}")
            return ;;
        --json:*) _byway_words "pretty short off" "$word"; return ;;
        :--json=*) _byway_words "--json=pretty --json=short --json=off" "$word"; return ;;
        -p:* | --profile:*) _byway_nothing "$word"; return ;;
        -u:* | --user:*) _byway_nothing "$word"; return ;;
        --confirm:*) _byway_nothing "$word"; return ;;
        --port:*) _byway_nothing "$word"; return ;;
        --idle:*) _byway_nothing "$word"; return ;;
        --scope:*) _byway_words "system user" "$word"; return ;;
        :--scope=*) _byway_words "--scope=system --scope=user" "$word"; return ;;
    esac
    case $command in
        "") _byway_words "status list add remove run mode bypass routes candidates test explain doctor plan apply confirm rollback reconcile config ui metrics generate daemon --help --version --config" "$word" ;;
        "bypass") _byway_words "list add remove clear --help" "$word" ;;
        "routes") _byway_words "clear restore --help" "$word" ;;
        "config") _byway_words "cat check edit --help" "$word" ;;
        "metrics") _byway_words "print write --help" "$word" ;;
        "status")
            _byway_words "--json --wait --help --config" "$word" ;;
        "list")
            _byway_words "--json --help --config" "$word" ;;
        "add" | "add "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--profile --wait --help --config" "$word"; else _byway_program "$word"; fi ;;
        "remove" | "remove "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--wait --help --config" "$word"; else _byway_listed_app "$word"; fi ;;
        "run" | "run "*)
            if [[ $command = "run "* ]]; then
                _byway_file "$word"
                return
            fi
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--profile --user --help --config" "$word"; else _byway_command "$word"; fi ;;
        "mode" | "mode "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--runtime --confirm --json --help --config" "$word"; else _byway_words "bypass full_tunnel selective direct" "$word"; fi ;;
        "bypass list")
            _byway_words "--json --help --config" "$word" ;;
        "bypass add" | "bypass add "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--help --config" "$word"; else _byway_nothing "$word"; fi ;;
        "bypass remove" | "bypass remove "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--help --config" "$word"; else _byway_nothing "$word"; fi ;;
        "bypass clear")
            _byway_words "--help --config" "$word" ;;
        "routes clear")
            _byway_words "--dry-run --confirm --help --config" "$word" ;;
        "routes restore")
            _byway_words "--dry-run --confirm --help --config" "$word" ;;
        "candidates")
            _byway_words "--json --help --config" "$word" ;;
        "test")
            _byway_words "--json --help --config" "$word" ;;
        "explain" | "explain "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--json --help --config" "$word"; else _byway_nothing "$word"; fi ;;
        "doctor")
            _byway_words "--json --help --config" "$word" ;;
        "plan")
            _byway_words "--json --help --config" "$word" ;;
        "apply")
            _byway_words "--dry-run --confirm --wait --help --config" "$word" ;;
        "confirm")
            _byway_words "--help --config" "$word" ;;
        "rollback")
            _byway_words "--help --config" "$word" ;;
        "reconcile")
            _byway_words "--direct --help --config" "$word" ;;
        "config cat")
            _byway_words "--help --config" "$word" ;;
        "config check")
            _byway_words "--json --help --config" "$word" ;;
        "config edit")
            _byway_words "--help --config" "$word" ;;
        "ui")
            _byway_words "--no-browser --port --idle --help --config" "$word" ;;
        "metrics print")
            _byway_words "--help --config" "$word" ;;
        "metrics write" | "metrics write "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--help --config" "$word"; else _byway_file "$word"; fi ;;
        "generate" | "generate "*)
            if [[ $word = -* && -z $ends_options ]]; then _byway_words "--scope --help --config" "$word"; else _byway_directory "$word"; fi ;;
        "daemon")
            _byway_words "--gate --clean-up --help --config" "$word" ;;
    esac
}

complete -F _byway byway
