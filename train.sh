#!/usr/bin/env bash
# Train:  ./train.sh solver=musicgen/micro_32khz dset=audio/jungle        the arguments of `dora run`
# All:    ./train.sh --audio DIR [--codec NAME] [overrides]               prepare, train, export, sample
#         ./train.sh --midi DIR [overrides]                               the same for drums
# The same command goes on where it was stopped.
set -euo pipefail
root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
python=python3
[ -x "$root/.venv/bin/python" ] && python=$root/.venv/bin/python
for argument in "$@"; do
    case "$argument" in
        --audio | --audio=* | --help | -h)  # paths are meant from where this was typed
            PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m audiocraft_ext.audio.demo "$@" ;;
        --midi | --midi=*)
            PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m audiocraft_ext.drums.demo "$@" ;;
    esac
done
cd "$root"
exec "$python" -m dora -P audiocraft_ext run "$@"
