# shellcheck shell=bash
# What setup, install and booted share: messages, package checks, pip's settings, the hash-checked venv.
# Part of the key of a test machine's image: a change here builds the images anew.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# missing_packages ROOT NAME...: those of NAME that are not installed in ROOT (or / if empty).
missing_packages() {
    local root=$1; shift
    local installed name
    installed=$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null) || true
    for name in "$@"; do
        grep -qxE "ii +$name" <<<"$installed" || echo "$name"
    done
}

# quietly CMD...: its output is shown only when it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        cat "$log" >&2
        say "failed ($status): $*"
    fi
    rm -f "$log"
    return "$status"
}

# pip_environment PIP: fixes the environment to the main index the machine's pip is configured with.
# Additional indexes and folders are left out: they may serve other builds of the same version, whose
# hashes are not in the lock.
pip_environment() {
    local key value
    while IFS='=' read -r key value; do
        key=${key##*.}
        value=${value#\'}; value=${value%\'}
        case $key in
            index-url) : "${PIP_INDEX_URL:=$value}"; export PIP_INDEX_URL ;;
            cert) : "${PIP_CERT:=$value}"; export PIP_CERT ;;
            client-cert) : "${PIP_CLIENT_CERT:=$value}"; export PIP_CLIENT_CERT ;;
            proxy) : "${PIP_PROXY:=$value}"; export PIP_PROXY ;;
            timeout|default-timeout) : "${PIP_DEFAULT_TIMEOUT:=$value}"; export PIP_DEFAULT_TIMEOUT ;;
            trusted-host) : "${PIP_TRUSTED_HOST:=$value}"; export PIP_TRUSTED_HOST ;;
        esac
    done < <("$@" config list)
    unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL PIP_CONSTRAINT PIP_REQUIRE_VIRTUALENV
    export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
}

# lock_hash PYTHON FILE...: names a venv's content; another Python or lock gives another hash.
lock_hash() {
    local python=$1; shift
    { "$python" -c 'import sys; print(sys.version)'; cat "$@"; } | sha256sum | cut -d' ' -f1
}
