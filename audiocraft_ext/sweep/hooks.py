"""Where our parts take the place of Dora's."""

from __future__ import annotations

import importlib

from audiocraft_ext.sweep import grid, monitor, shepherd

PLACES = ("grid", "info", "run", "launch")  # each has the name Shepherd


def install() -> None:
    """Dora's commands use ours from here on, also as ``python -m dora -P audiocraft_ext``."""
    for name in PLACES:
        importlib.import_module(f"dora.{name}").Shepherd = shepherd.Shepherd
    of_grids = importlib.import_module("dora.grid")
    of_grids.Herd, of_grids.monitor, of_grids.run_grid = shepherd.Herd, monitor.monitor, grid.run_grid
