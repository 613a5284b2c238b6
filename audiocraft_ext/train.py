"""Where Dora and Hydra come in: ``dora run solver=musicgen/micro_32khz dset=audio/jungle``.

Only what turns a command line into a solver; configs/ holds the settings, :mod:`audiocraft_ext.solver` the loop.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import flashy
import hydra
import numpy as np
import torch
from dora import get_xp, git_save, is_xp
from dora.distrib import get_distrib_spec
from dora.hydra import HydraMain
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from audiocraft_ext.errors import UserError, run_cli
from audiocraft_ext.files import only_one
from audiocraft_ext.machine import physical_cores
from audiocraft_ext.overrides import quoted
from audiocraft_ext.record import Record
from audiocraft_ext.sweep import hooks


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
            return super().get_xp(argv)
        except MissingConfigException as error:
            raise UserError(self._choices(error)) from None
        except AssertionError as error:  # Dora compares the run with the defaults, key by key
            raise UserError(f"{error} A list of settings stays one: set the keys in it") from None
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(str(error).split("Set the environment variable")[0]) from None

    def _main(self):
        """Dora tells Hydra the run's folder unquoted, so a checkout below ``music (2)`` could not train."""
        argv = sys.argv
        if is_xp():
            sys.argv = [*argv, f"hydra.run.dir={quoted(str(get_xp().folder))}"]
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
    """Fill in what depends on the machine and on where the command was typed."""
    if cfg.device == "auto":
        cfg.device = "cuda" if torch.cuda.is_available() else "cpu"
    if cfg.num_threads == "auto":
        cfg.num_threads = int(os.environ.get("OMP_NUM_THREADS") or physical_cores())
    if cfg.datasource.store is None:
        raise UserError("choose a data set: dset=audio/jungle, or datasource.store=FOLDER")
    cfg.datasource.store = str(git_save.to_absolute_path(cfg.datasource.store))


def init_seed_and_system(cfg) -> None:
    """Seeds and threads. (audiocraft's also moves the temporary folder of one cluster.)"""
    random.seed(cfg.seed)
    np.random.seed(cfg.seed)
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(cfg.num_threads)
    torch.set_float32_matmul_precision("high")


def get_solver(cfg, record: Record | None = None):
    """The solver of a resolved config; the batch is divided among the processes."""
    from audiocraft_ext.solver import StreamSolver

    world = flashy.distrib.world_size()
    if cfg.dataset.batch_size != "auto":
        if cfg.dataset.batch_size % world:
            raise UserError(f"dataset.batch_size={cfg.dataset.batch_size} must be a multiple of the {world} processes")
        cfg.dataset.batch_size //= world
    return StreamSolver(cfg, record)


def run(cfg) -> None:
    """What ``dora run`` does, once the config is there."""
    resolve(cfg)
    init_seed_and_system(cfg)
    log_name = f"{cfg.execute_only}.log.{{rank}}" if cfg.execute_only else "solver.log.{rank}"
    flashy.setup_logging(level=str(cfg.logging.level).upper(), log_name=log_name)
    flashy.distrib.init()
    if cfg.show:
        get_solver(cfg).show()
    elif cfg.execute_only:
        solver = get_solver(cfg)
        solver.restore()
        solver.run_one_stage(cfg.execute_only)
    elif not flashy.distrib.is_rank_zero():
        get_solver(cfg).run()
    else:
        folder = get_xp().folder
        record = Record(folder)
        with only_one(folder / "lock", f"the run {get_xp().sig}"), record.of_run():
            get_solver(cfg, record).run()


def main(cfg) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # our own errors are caught below; a bug should show its traceback
    run_cli(lambda: run(cfg))


main = Main(main, config_name="config", config_path="../configs", version_base="1.3")
hooks.install()

if __name__ == "__main__":
    main()
