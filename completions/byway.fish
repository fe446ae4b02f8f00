# fish completion for byway(1).
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
            case --config --json -p --profile -u --user --confirm --port --idle --scope
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
complete -c byway -n '__byway_at' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_at' -l version -d 'show the version, and exit'
complete -c byway -l config -r -F -d 'use this file alone instead of /etc/byway'
complete -c byway -n '__byway_at' -a status -d 'show links, apps and whether all is in sync'
complete -c byway -n '__byway_at' -a list -d 'list the configured apps'
complete -c byway -n '__byway_at' -a add -d 'add apps to the configuration'
complete -c byway -n '__byway_at' -a remove -d 'remove apps from the configuration'
complete -c byway -n '__byway_at' -a run -d 'run a command by the direct link, from its first instruction'
complete -c byway -n '__byway_at' -a mode -d 'show or change where all goes that nothing else decides'
complete -c byway -n '__byway_at' -a bypass -d 'show or change the destinations that never use the VPN'
complete -c byway -n '__byway_at' -a routes -d 'take byway\'s routes out of the kernel, or put them back'
complete -c byway -n '__byway_at' -a candidates -d 'show what could be forced to a side, without changing anything'
complete -c byway -n '__byway_at' -a test -d 'send canaries, and show by which links they would have left'
complete -c byway -n '__byway_at' -a explain -d 'say where a process, a unit or an address goes, and why'
complete -c byway -n '__byway_at' -a doctor -d 'look for what is wrong, and say what to do'
complete -c byway -n '__byway_at' -a plan -d 'show what apply would change, and why'
complete -c byway -n '__byway_at' -a apply -d 'make the machine as the configuration says'
complete -c byway -n '__byway_at' -a confirm -d 'keep what was applied with --confirm'
complete -c byway -n '__byway_at' -a rollback -d 'bring back the configuration before the last change'
complete -c byway -n '__byway_at' -a reconcile -d 'put right what differs, through the daemon when it runs'
complete -c byway -n '__byway_at' -a config -d 'show, check or edit the configuration'
complete -c byway -n '__byway_at' -a ui -d 'open the settings page in the browser'
complete -c byway -n '__byway_at' -a metrics -d 'show what a monitoring system collects (OpenMetrics)'
complete -c byway -n '__byway_at' -a generate -d 'write the unit files that the systemd generator writes'
complete -c byway -n '__byway_at' -a daemon -d 'run in the foreground, until Ctrl+C'
complete -c byway -n '__byway_at bypass' -a list -d 'list them'
complete -c byway -n '__byway_at bypass' -a add -d 'add destinations'
complete -c byway -n '__byway_at bypass' -a remove -d 'remove destinations'
complete -c byway -n '__byway_at bypass' -a clear -d 'empty the list'
complete -c byway -n '__byway_at routes' -a clear -d 'save byway\'s routes and rules, and remove them until they are restored'
complete -c byway -n '__byway_at routes' -a restore -d 'check what was saved, and put the routes and rules back'
complete -c byway -n '__byway_at config' -a cat -d 'show every file, in the order they apply'
complete -c byway -n '__byway_at config' -a check -d 'check it, and report every error'
complete -c byway -n '__byway_at config' -a edit -d 'edit it; what is not valid is not saved'
complete -c byway -n '__byway_at metrics' -a print -d 'print the metrics'
complete -c byway -n '__byway_at metrics' -a write -d 'write the metrics to a file, for a textfile collector'
complete -c byway -n '__byway_in status' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in status' -l wait -d 'wait up to 15 seconds for a service that starts'
complete -c byway -n '__byway_in status' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in list' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in list' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in add' -s p -l profile -r -d 'the named profile to use'
complete -c byway -n '__byway_in add' -l wait -d 'wait up to 15 seconds for a service that starts'
complete -c byway -n '__byway_in add' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in add' -F -a '(__byway_programs)'
complete -c byway -n '__byway_in remove' -l wait -d 'wait up to 15 seconds for a service that starts'
complete -c byway -n '__byway_in remove' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in remove' -a '(__byway_listed)'
complete -c byway -n '__byway_in run' -s p -l profile -r -d 'the named profile to use'
complete -c byway -n '__byway_in run' -s u -l user -r -d 'run it as this user instead of root'
complete -c byway -n '__byway_in run' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in run' -a '(__fish_complete_subcommand --fcs-skip=2)'
complete -c byway -n '__byway_in mode' -l runtime -d 'until the next boot only'
complete -c byway -n '__byway_in mode' -l confirm -r -d 'take the last change back after this time, unless it is confirmed'
complete -c byway -n '__byway_in mode' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in mode' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in mode' -a 'bypass full_tunnel selective direct'
complete -c byway -n '__byway_in bypass list' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in bypass list' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in bypass add' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in bypass add' 
complete -c byway -n '__byway_in bypass remove' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in bypass remove' 
complete -c byway -n '__byway_in bypass clear' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in routes clear' -s n -l dry-run -d 'only show the plan'
complete -c byway -n '__byway_in routes clear' -l confirm -r -d 'take the last change back after this time, unless it is confirmed'
complete -c byway -n '__byway_in routes clear' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in routes restore' -s n -l dry-run -d 'only show the plan'
complete -c byway -n '__byway_in routes restore' -l confirm -r -d 'take the last change back after this time, unless it is confirmed'
complete -c byway -n '__byway_in routes restore' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in candidates' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in candidates' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in test' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in test' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in explain' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in explain' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in explain' 
complete -c byway -n '__byway_in doctor' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in doctor' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in plan' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in plan' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in apply' -s n -l dry-run -d 'only show the plan'
complete -c byway -n '__byway_in apply' -l confirm -r -d 'take the last change back after this time, unless it is confirmed'
complete -c byway -n '__byway_in apply' -l wait -d 'wait up to 15 seconds for a service that starts'
complete -c byway -n '__byway_in apply' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in confirm' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in rollback' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in reconcile' -l direct -d 'do it here, not in the daemon'
complete -c byway -n '__byway_in reconcile' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in config cat' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in config check' -l json -x -a 'pretty short off' -d 'print JSON, over several lines or on one'
complete -c byway -n '__byway_in config check' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in config edit' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in ui' -l no-browser -d 'only print where the page is'
complete -c byway -n '__byway_in ui' -l port -r -d 'the port on 127.0.0.1 instead of any that is free'
complete -c byway -n '__byway_in ui' -l idle -r -d 'end when the page was not open for this time (600)'
complete -c byway -n '__byway_in ui' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in metrics print' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in metrics write' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in metrics write' -F
complete -c byway -n '__byway_in generate' -l scope -x -a 'system user' -d 'whose manager they are for'
complete -c byway -n '__byway_in generate' -s h -l help -d 'show the help of byway or of the verb, and exit'
complete -c byway -n '__byway_in generate' -a '(__fish_complete_directories)'
complete -c byway -n '__byway_in daemon' -l gate -d 'run the exec gate instead'
complete -c byway -n '__byway_in daemon' -l clean-up -d 'remove what byway made, and end'
complete -c byway -n '__byway_in daemon' -s h -l help -d 'show the help of byway or of the verb, and exit'
