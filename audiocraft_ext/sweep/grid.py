"""``dora grid`` around Dora's own ``run_grid``: what is said first, what Ctrl-C does, the exit code."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from dora import grid as dora_grid
from dora.conf import SubmitRules

from audiocraft_ext.errors import UserError, run_cli
from audiocraft_ext.sweep import shepherd
from audiocraft_ext.sweep.local import INTERRUPTED, LocalJob
from audiocraft_ext.sweep.monitor import monitor
from audiocraft_ext.sweep.options import OPTIONS

_run_grid = getattr(dora_grid.run_grid, "dora", dora_grid.run_grid)
FAILED = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", INTERRUPTED)


def grids(main) -> list[str]:
    """The names of the grids there are."""
    package = dora_grid.import_or_fatal(main.dora.grid_package or main.package + ".grids")
    root = Path(package.__file__).parent
    files = (path.relative_to(root).with_suffix("") for path in root.rglob("*.py"))
    return sorted(".".join(file.parts) for file in files if not any(part.startswith("_") for part in file.parts))


def check_grid(name: str | None, main) -> None:
    """
    Raises:
        UserError: there is no grid of that name.
    """
    there = grids(main)
    if name not in there:
        what = f"no grid {name}" if name else "name a grid"
        raise UserError(f"{what}; there are: {', '.join(there) or 'none'}")


def run_grid(main, explorer, grid_name, rules=None, slurm=None, args=None):
    """Dora's, with the same arguments and result."""
    rules, args = rules or SubmitRules(), args or dora_grid.RunGridArgs()
    OPTIONS.grid, shown = grid_name, []

    def watch(args, main, explorer, herd, maybe_print):
        shown[:] = herd
        return monitor(args, main, explorer, herd, maybe_print)

    def run():
        try:
            return _run_grid(main, explorer, grid_name, rules, slurm, args)
        except KeyboardInterrupt:
            leave(grid_name, [sheep.job for sheep in shown if not sheep.is_done()])
            raise

    dora_grid.monitor = watch
    if not args._from_commandline:
        return run()
    if shepherd.is_local() and all(option is None for option in (args.folder, args.log, args.tail)):
        dora_grid.log("On this machine" if OPTIONS.local else "There is no srun here: on this machine, as with --local")
    sheeps = run_cli(run, leave=False)
    if any(sheep.state() in FAILED for sheep in shown):
        sys.exit(1)
    return sheeps


run_grid.dora = _run_grid


def leave(grid: str, jobs: list) -> None:
    """After Ctrl-C: runs of this machine may be stopped, or go on like those of a cluster."""
    mine = [job for job in jobs if isinstance(job, LocalJob)]
    back = f"`dora grid {grid}` comes back to them, `dora grid {grid} --cancel` stops them"
    runs = f"the {len(jobs)} runs" if len(jobs) > 1 else "the run"
    answer = ""
    if mine and sys.stdin.isatty():
        with contextlib.suppress(KeyboardInterrupt, EOFError):
            answer = input(f"\nStop {runs} too? [y/N] ")
    if answer.strip().lower() in ("y", "yes"):
        shepherd.stop(mine, dora_grid.log)
        raise KeyboardInterrupt(f"`dora grid {grid} -r` goes on from their checkpoints")
    if jobs:
        raise KeyboardInterrupt(f"{runs} {'go' if len(jobs) > 1 else 'goes'} on; {back}")
