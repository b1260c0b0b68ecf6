#!/bin/sh
# Finds a Python that will do and lets it fill .venv: `sh scripts/setup.sh [--dev]`.
set -u
cd "$(dirname "$0")/.." || exit 1
unset PYTHONHOME PYTHONPATH

version='import sys; print("%d.%d.%d" % sys.version_info[:3])'
suits='import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'
tried=''
places=${PATH:-/usr/local/bin:/usr/bin:/bin}
for versions in "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.1[12].*/bin; do
    [ ! -d "$versions" ] || places="$places:$versions" # what pyenv's own shims may refuse to start here
done

# A name may stand on the PATH more than once, and a shim may be there that leads nowhere.
try_each() { # $1: what else it must be able to do
    for name in python3.12 python3.11 python3 python; do
        rest="$places:"
        while [ -n "$rest" ]; do
            candidate="${rest%%:*}/$name"
            rest="${rest#*:}"
            [ -x "$candidate" ] || continue
            if "$candidate" -I -c "$suits; $1" >/dev/null 2>&1; then
                found=$candidate
                return 0
            fi
            tried="$tried
  $candidate: $("$candidate" -I -c "$version" 2>/dev/null || echo 'does not run')"
        done
    done
    return 1
}

if [ -n "${PYTHON:-}" ]; then
    found=$PYTHON
    if ! "$found" -I -c "$suits" >/dev/null 2>&1; then
        echo "PYTHON=$PYTHON is not Python 3.11 or 3.12." >&2
        exit 1
    fi
elif ! try_each 'import ensurepip' && ! try_each 'import pip'; then
    echo "Syncline needs Python 3.11 or 3.12 with its venv module (on Debian and Ubuntu: python3-venv)." >&2
    if [ -n "$tried" ]; then
        echo "Found, and not enough:$(echo "$tried" | sort -u)" >&2
    fi
    echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
fi
exec "$found" -I scripts/install.py "$@"
