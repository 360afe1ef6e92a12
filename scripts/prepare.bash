# Sourced by the other scripts: brings Debian programs and locked Python environments to a machine on which nothing is prepared.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

stop() { # stop WHAT [HINT]: say what is wrong and end
    printf '%s: error: %s\n' "${0##*/}" "$1" >&2
    [ -z "${2-}" ] || printf '%s: hint: %s\n' "${0##*/}" "$2" >&2
    exit 1
}

need() { # need PROGRAM:PACKAGE…: install the Debian packages of the programs (or, with a slash, files) that are missing
    local pair missing=() become=()
    for pair; do
        case $pair in
        /*) [ -e "${pair%%:*}" ] || missing+=("${pair#*:}") ;;
        *) PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || stop "missing on this machine: ${missing[*]}" "install what Debian packages under these names"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || stop "missing on this machine: ${missing[*]}" "as root: apt-get install ${missing[*]}"
        become=(sudo)
    fi
    echo "${0##*/}: installing ${missing[*]}" >&2
    "${become[@]}" apt-get update -qq >&2
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}" </dev/null >&2
}

find_python() { # set $python to a Python of at least 3.11 that can make environments
    python=${PYTHON:-python3}
    [ -n "${PYTHON-}" ] || need python3:python3
    command -v "$python" >/dev/null || stop "no program $python here" "name a Python of at least 3.11: PYTHON=… $0"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "$("$python" --version) is too old" "airlock needs Python 3.11 or later (Debian 12 has it); name another one: PYTHON=python3.12 $0"
    "$python" -c 'import ensurepip' 2>/dev/null || need ensurepip:python3-venv
    "$python" -c 'import ensurepip' 2>/dev/null || stop "$python has no venv module" "install it (Debian: apt-get install python3-venv)"
}

locked_environment() { # locked_environment NAME LOCK…: set $venv to .venv/NAME holding what requirements/LOCK.txt pin, made anew when they change
    local name=$1 lock locks=() key
    shift
    for lock; do locks+=("$root/requirements/$lock.txt"); done
    find_python
    venv=$root/.venv/$name
    key=$({ "$python" -c 'import sys; print(sys.version, sys.base_prefix)' && cat "${locks[@]}"; } | sha256sum)
    [ "$(cat "$venv/locked" 2>/dev/null)" != "$key" ] || return 0
    echo "${0##*/}: preparing $venv" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: "${locks[@]/#/--requirement=}" >&2
    echo "$key" >"$venv/locked"
}

one_at_a_time() { # one_at_a_time COMMAND…: two scripts that prepare the same environment wait for each other
    mkdir -p "$root/.venv"
    exec 9>"$root/.venv/in-use"
    flock 9
    "$@"
    exec 9>&-
}

development_environment() { # set $venv to all that is needed to test and check, with airlock itself as it stands in this tree, and put it on PATH
    local key
    locked_environment dev test check build
    key=$(sha256sum <"$root/pyproject.toml")
    if [ "$(cat "$venv/project" 2>/dev/null)" != "$key" ]; then
        "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-index --no-build-isolation --editable "$root" >&2
        echo "$key" >"$venv/project"
    fi
    export PATH=$venv/bin:$PATH
}

installed_environment() { # set $venv to what runs inside: runtime.txt and airlock, installed from this tree as it stands
    locked_environment installed runtime build
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-index --no-build-isolation --force-reinstall --compile "$root" >&2
}
