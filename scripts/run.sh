#!/bin/sh
# Runs one process type of the Procfile (`sh scripts/run.sh web`), or any other command as it is.
set -eu
cd "$(dirname "$0")/.."
command=$(sed -n "s/^${1:-web}:[[:space:]]*//p" Procfile)
if [ -n "$command" ]; then
    exec sh -c "$command"
fi
exec "$@"
