"""Solvers in this process, as ``dora run`` would make them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from audiocraft_ext.train import get_solver, init_seed_and_system, main, resolve


@contextmanager
def solver_of(folder: Path, store: Path, *overrides: str, change=None):
    """A solver for the debug recipe with ``overrides``, its run kept below ``folder``.

    Args:
        change: called with the config before the solver is built; an edit that Dora's signature does not see.
    """
    main.dora.dir = Path(folder)
    xp = main.get_xp(["solver=musicgen/debug", f"datasource.store={store}", "logging.log_tensorboard=false",
                      *overrides])
    main.init_xp(xp)
    with xp.enter(stack=True):
        xp.link.load()
        resolve(xp.cfg)
        if change:
            change(xp.cfg)
        init_seed_and_system(xp.cfg)
        yield get_solver(xp.cfg)


def run(folder: Path, store: Path, *overrides: str, change=None):
    """Run to the end (or to whatever stops it) and return the solver."""
    with solver_of(folder, store, *overrides, change=change) as solver:
        solver.run()
        return solver
