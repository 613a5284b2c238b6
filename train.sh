#!/usr/bin/env bash
# Train:  ./train.sh solver=musicgen/micro_32khz dset=audio/jungle        the overrides of `dora run`
# All:    ./train.sh --audio DIR [--codec NAME] [overrides]               prepare, train, export, sample
# The same command goes on where it was stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
for argument in "$@"; do
    case "$argument" in
        --*) exec "$python" -m audiocraft_ext.demo "$@" ;;
    esac
done
exec "$python" -m dora -P audiocraft_ext run "$@"
