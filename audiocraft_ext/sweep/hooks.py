"""Where our parts take the place of Dora's."""

from __future__ import annotations

import importlib
import importlib.util

from audiocraft_ext.sweep import cluster

PLACES = ("grid", "info", "run", "launch")  # each has the name Shepherd


def install() -> None:
    """Dora's commands use our Shepherd, Herd and monitor from here on, also as ``python -m dora -P audiocraft_ext``."""
    cluster.install()
    modules = {name: importlib.import_module(f"dora.{name}") for name in PLACES}
    for module in modules.values():  # until shepherd.py has its subclass
        module.Shepherd = cluster.ClusterShepherd
    if importlib.util.find_spec("audiocraft_ext.sweep.monitor"):
        from audiocraft_ext.sweep.monitor import monitor

        modules["grid"].monitor = monitor
