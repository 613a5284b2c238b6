"""What slots are worth: ``python -m benchmarks.training.grid_slots [--slots 1 2 4]``.

The grid ``debug`` (four runs of a few seconds) on this machine with 1, 2 and 4 slots, each time from nothing, beside
the sum of what its runs take when each is alone. A run's own time is from the start of its process to its end, so the
seconds that Python takes to import torch are in it, as in any run; those of the command ``dora grid debug`` are in the
grid's time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from benchmarks.common.machine import describe


def whole(slots: int, stores: Path, outputs: Path) -> tuple[float, list[float]]:
    """Seconds that the grid took, and those of each run."""
    environment = os.environ | {"MICRO_OUTPUTS": str(outputs), "MICRO_STORES": str(stores)}
    environment.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, "-m", "audiocraft_ext.sweep.cli", "grid", "debug", "--local", "--slots", str(slots)]
    begin = time.monotonic()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    except KeyboardInterrupt:
        subprocess.run([*command, "--cancel"], env=environment, capture_output=True)
        raise
    took = time.monotonic() - begin
    if done.returncode:
        raise UserError(f"dora grid debug --slots {slots} ended with {done.returncode}: {done.stderr[-500:]}")
    notes = [json.loads(path.read_text("utf-8")) for path in outputs.glob("xps/*/local.json")]
    return took, [note["ended"] - note["began"] for note in notes]


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.training.grid_slots", description=__doc__.partition("\n")[0])
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="default: 1 2 4")
    parser.add_argument("--save", type=Path, metavar="FILE", help="also as JSON")
    args = parser.parse_args(argv)
    print(", ".join(f"{key}: {value}" for key, value in describe("torch").items() if key != "threads"))
    rows = {}
    with tempfile.TemporaryDirectory(prefix="grid-slots-") as name:
        folder = Path(name)
        whole(1, folder, folder / "first")  # makes the store, and reads all files once
        alone = None
        for slots in sorted({1, *args.slots}):
            took, runs = whole(slots, folder, folder / str(slots))
            alone = alone or sum(runs)
            rows[slots] = {"grid_s": round(took, 1), "runs_s": [round(run, 1) for run in runs],
                           "of_the_sum": round(took / alone, 2)}
            print(f"{slots} slot{'s' * (slots > 1)}: {took:6.1f} s; its {len(runs)} runs {sum(runs):5.0f} s in all, "
                  f"alone {alone:.0f} s: {took / alone:.2f} of that", flush=True)
    if args.save:
        args.save.write_text(json.dumps({"alone_s": alone, "slots": rows}, indent=1), "utf-8")


if __name__ == "__main__":
    run_cli(main)
