"""``dora grid`` around Dora's own ``run_grid``: what is said first, what Ctrl-C does, the exit code."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dora import Explorer
from dora import grid as dora_grid
from dora.conf import SubmitRules

from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.sweep import shepherd
from audiocraft_ext.sweep.job import LocalJob
from audiocraft_ext.sweep.local import INTERRUPTED
from audiocraft_ext.sweep.monitor import check, check_index, monitor
from audiocraft_ext.sweep.options import OPTIONS

_run_grid = getattr(dora_grid.run_grid, "dora", dora_grid.run_grid)
_pick = dora_grid._filter_grid_sheeps
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
    page = importlib.util.find_spec(f"{main.dora.grid_package or main.package + '.grids'}.{name}")
    with mistakes_in(page.origin):
        module = importlib.import_module(page.name)
    if not isinstance(getattr(module, "explorer", None), Explorer):
        raise UserError(f"{page.origin}: expected a function `explorer` with @Explorer above it")
    module.explorer.explore = _with_mistakes_in(module.explorer.explore, page.origin)


def _with_mistakes_in(explore: Callable, file: str) -> Callable:
    """The explorer's function, whose errors name the page."""
    @functools.wraps(explore)
    def wrapped(launcher):
        with mistakes_in(file):
            explore(launcher)

    return wrapped


@contextlib.contextmanager
def mistakes_in(file: str):
    """
    Raises:
        UserError: for anything that the grid in ``file`` does wrong, with its place there.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}") from None
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        if not lines:
            raise
        raise UserError(f"{file}:{lines[-1]}: {type(error).__name__}: {error}") from None


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
        except EOFError:
            raise UserError("--clear deletes runs and asks before it does; use it in a terminal") from None
        except KeyboardInterrupt:
            leave(grid_name, [sheep.job for sheep in shown if not sheep.is_done()])
            raise

    def pick(patterns, main, sheeps):
        """Dora asks this before it decides on anything."""
        try:
            picked = _pick(patterns, main, sheeps)
        except IndexError:
            raise UserError(f"no such run; the grid has {len(sheeps)}, the first is 0") from None
        for option, index in looks.items():
            _check_look(option, index, picked)
        check(args, main, picked)
        return picked

    looks = {f"--{name}": index for name in ("folder", "log", "tail") if (index := getattr(args, name)) is not None}
    OPTIONS.look = bool(looks)
    args.dry_run = args.dry_run or OPTIONS.look
    dora_grid.monitor, dora_grid._filter_grid_sheeps = watch, pick
    if not args._from_commandline:
        return run()
    if shepherd.is_local() and not looks:
        dora_grid.log("On this machine" if OPTIONS.local else "There is no srun here: on this machine, as with --local")
    sheeps = run_cli(run, leave=False)
    if any(sheep.state() in FAILED for sheep in shown):
        sys.exit(1)
    return sheeps


run_grid.dora = _run_grid


def _check_look(option: str, index: int, herd: list) -> None:
    """
    Raises:
        UserError: there is nothing to look at.
    """
    check_index(option, index, herd)
    sheep = herd[index]
    there = sheep.xp.folder if option == "--folder" else sheep.log
    if there is None or not there.exists():
        raise UserError(f"{option} {index}: run {sheep.xp.sig} has not been started yet, {there or 'it has no log'}"
                        + (" is not there" if there else ""))


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
