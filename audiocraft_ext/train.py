"""Where Dora and Hydra come in: ``dora run solver=musicgen/micro_32khz dset=audio/jungle``.

Only what turns a command line into a solver; configs/ holds the settings, :mod:`audiocraft_ext.training.solver` the
loop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import flashy
import hydra
import numpy as np
import torch
from dora import get_xp, git_save, is_xp
from dora.distrib import get_distrib_spec
from dora.hydra import HydraMain, _compare_config
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.core.files import only_one
from audiocraft_ext.core.machine import at_most_usable, physical_cores
from audiocraft_ext.runs import version
from audiocraft_ext.runs.overrides import how_to_quote, quoted, signature_kept
from audiocraft_ext.runs.record import Record, read_status
from audiocraft_ext.sweep import hooks
from audiocraft_ext.training import distributed, settings


class Main(HydraMain):
    """Dora's entry point; what the user typed wrong becomes one line and exit code 2 instead of a traceback."""

    def get_xp(self, argv):
        return run_cli(lambda: self._composed(argv), leave=False)

    def _composed(self, argv):
        for argument in argv:
            if "=" not in argument:
                raise UserError(f"expected KEY=VALUE, got {argument!r}")
        if not any(argument.startswith("solver=") for argument in argv):
            raise UserError("choose a solver: solver=musicgen/micro_32khz (or nano_32khz, musicgen_base_32khz, debug)")
        try:
            return super().get_xp([signature_kept(argument) for argument in argv])
        except MissingConfigException as error:
            raise UserError(self._choices(error)) from None
        except AssertionError as error:  # Dora compares the run with the defaults, key by key
            _compare_config.__defaults__[0].clear()  # where it was; else every later signature would begin with it
            raise UserError(f"{error} A list of settings stays one: set the keys in it") from None
        except (HydraException, OmegaConfBaseException) as error:
            text = " ".join(str(error).split("Set the environment variable")[0].split())
            raise UserError(f"{text.partition(' See https://hydra.cc')[0]}{how_to_quote(argv)}") from None

    def _main(self):
        """Dora tells Hydra the run's folder unquoted, so a checkout below ``music (2)`` could not train."""
        argv = sys.argv
        sys.argv = [signature_kept(argument) for argument in argv]
        if is_xp():
            sys.argv = [*sys.argv, f"hydra.run.dir={quoted(str(get_xp().folder))}"]
            if get_distrib_spec().rank > 0:
                sys.argv.append("hydra.output_subdir=null")
        try:
            return hydra.main(self.config_path, self.config_name, **self.hydra_kwargs)(self.main)()
        finally:
            sys.argv = argv

    def _choices(self, error: MissingConfigException) -> str:
        """What is there instead. Hydra lists only what lies at the top of a group."""
        wanted = Path(error.missing_cfg_file or "").with_suffix("")
        folder = self.full_config_path / wanted.parent
        there = sorted(p.stem for p in folder.glob("*.yaml") if p.stem != "default")
        return f"no config {wanted}; in configs/{wanted.parent} there are: {', '.join(there) or 'none'}"


def resolve(cfg) -> None:
    """Fill in what depends on the machine and on where the command was typed, once all is within its range."""
    if cfg.device == "auto":
        cfg.device = "cuda" if torch.cuda.is_available() else "cpu"
    settings.check(cfg)
    if cfg.num_threads == "auto":
        cores = max(1, physical_cores() // distributed.local_size())
        asked = os.environ.get("OMP_NUM_THREADS")
        cfg.num_threads = settings.threads(asked) if asked else cores
    cfg.num_threads = at_most_usable(cfg.num_threads, "num_threads", lambda text: print(text, file=sys.stderr))
    if cfg.datasource.store is None:
        raise UserError("choose a data set: dset=audio/jungle, or datasource.store=FOLDER")
    cfg.datasource.store = str(git_save.to_absolute_path(cfg.datasource.store))


def init_seed_and_system(cfg) -> None:
    """Seeds and threads. (audiocraft's also moves the temporary folder of one cluster.)"""
    random.seed(cfg.seed)
    np.random.seed(cfg.seed % 2**32)
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(cfg.num_threads)
    torch.set_float32_matmul_precision("high")


def get_solver(cfg, record: Record | None = None):
    """The solver of a resolved config."""
    from audiocraft_ext.training.solver import StreamSolver

    return StreamSolver(cfg, record)


def run(cfg) -> None:
    """What ``dora run`` does, once the config is there."""
    resolve(cfg)
    init_seed_and_system(cfg)
    log_name = f"{cfg.execute_only}.log.{{rank}}" if cfg.execute_only else "solver.log.{rank}"
    flashy.setup_logging(level=str(cfg.logging.level).upper(), log_name=log_name)
    first, folder = get_distrib_spec().rank == 0, get_xp().folder
    record = Record(folder) if first and not (cfg.show or cfg.execute_only) else None
    if not first:  # its lines are in its own file
        logging.getLogger().handlers[0].setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        stack.enter_context(distributed.group(cfg.device, _failure_reporter(folder, first)))
        last = stack.enter_context(contextlib.ExitStack())  # trackers may take their time: the status comes first
        if record is not None:
            stack.enter_context(only_one(folder / "lock", f"the run {get_xp().sig}"))
            if different := version.note(folder):
                logging.getLogger(__name__).warning("The run %s", different)
            stack.enter_context(record.of_run())
        solver = get_solver(cfg, record)
        last.callback(solver.trackers.close)
        if cfg.show:
            solver.show()
        elif cfg.execute_only:
            solver.restore()
            solver.run_one_stage(cfg.execute_only)
        else:
            solver.run()


def _failure_reporter(folder: Path, first: bool) -> Callable[[str], None]:
    """A function that reports that a process ends because another one died. If that was the first, its status is still
    "training", and the others correct it."""
    def report(line: str) -> None:
        checkpoint = folder / "checkpoint.th"
        line += (f". The last checkpoint is {checkpoint}; the same command goes on from it."
                 if checkpoint.exists() else ". No checkpoint was written yet.")
        status = read_status(folder)
        if first or status.get("state") == "training":
            Record(folder).status(now=True, **status | {"state": "failed", "error": line})
        logging.getLogger(__name__).error(line)

    return report


def main(cfg) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # our own errors are caught below; a bug should show its traceback
    run_cli(lambda: run(cfg))


main = Main(main, config_name="config", config_path="../configs", version_base="1.3")
hooks.install()

if __name__ == "__main__":
    main()
