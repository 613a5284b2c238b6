"""Dora's Shepherd and Herd, with a queue on this machine beside Slurm.

What is new, what is no longer wanted, what is tried again is Dora's to decide and stays its own. Here it is decided
*where*: without Slurm (no ``srun``), or with ``--local``, a run goes into the grid's queue (sweep/queue.py) instead of
to ``sbatch``. A run may go from one to the other: what is done is done, what is under way is left alone, anything else
goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import torch
from dora import explore, git_save
from dora.shep import no_log
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.model.lm import LMConfig
from audiocraft_ext.runs import version
from audiocraft_ext.store.reader import RECORD, TokenStore
from audiocraft_ext.sweep import process
from audiocraft_ext.sweep.cluster import ClusterShepherd
from audiocraft_ext.sweep.job import LocalJob
from audiocraft_ext.sweep.local import INTERRUPTED, state_of
from audiocraft_ext.sweep.options import OPTIONS, RETRIES
from audiocraft_ext.sweep.queue import Queue
from audiocraft_ext.sweep.slots import describe, slots, visible_gpus
from audiocraft_ext.training import settings
from audiocraft_ext.training.checks import check_choices

WAIT_S = 0.1
LIMIT_S = 720.0  # for a stop: after 600 the keeper kills, and another machine counts as gone


def is_local() -> bool:
    """Whether runs go on this machine."""
    return OPTIONS.local or shutil.which("srun") is None


def queue_of(dora, grid: str) -> Queue:
    """The queue of a grid; ``dora`` is a main's config."""
    return Queue(Path(dora.dir) / "local" / (grid or "launch"))


def machine_slots() -> list[dict[str, str]]:
    """What ``--slots`` comes to here."""
    return slots(OPTIONS.slots, visible_gpus(torch.cuda.device_count()), physical_cores())


class Herd(explore.Herd):
    """Two runs of one signature would be one run, and one of them would silently be left out."""

    def _add_sheep(self, sheep, slurm, job_array_index=None):
        other = self.sheeps.get(sheep.xp.sig)
        if other is not None:
            raise UserError(f"two runs of the grid are one and the same ({sheep.xp.sig}): {' '.join(other.xp.argv)} "
                            f"and {' '.join(sheep.xp.argv)}; take one out, or tell them apart by label=NAME")
        super()._add_sheep(sheep, slurm, job_array_index)


class Shepherd(ClusterShepherd):
    """Dora's, for both places."""

    def __init__(self, main, log=no_log):
        self.local = is_local()
        self._queued: dict[str, dict] = {}
        self._code: version.Version | None = None
        super().__init__(main, log)

    def get_sheep_from_argv(self, argv):
        return self._with_job(super().get_sheep_from_argv(argv))

    def get_sheep_from_sig(self, sig):
        return self._with_job(super().get_sheep_from_sig(sig))

    def get_sheep_from_job_id(self, job_id):
        sheep = super().get_sheep_from_job_id(job_id)
        return sheep and self._with_job(sheep)

    def _with_job(self, sheep):
        """The job that counts: this machine's, where it is under way or done; else that of the place where we are."""
        state = state_of(sheep.xp.folder)
        if state is None:
            return sheep
        ended = state not in ("PENDING", "RUNNING", "COMPLETED")
        if sheep.job is not None and ended and not (self.local and self._is_over(sheep)):
            return sheep
        job_id = sheep.job.job_id if sheep.job is not None else "none"
        return _give(sheep, LocalJob(sheep.xp.folder, job_id))

    @staticmethod
    def _is_over(sheep) -> bool:
        """Whether its Slurm job is neither done nor under way."""
        return sheep.is_done() and sheep.state() != "COMPLETED"

    def maybe_submit_lazy(self, sheep, slurm_config, rules):
        if OPTIONS.look:
            return
        job = sheep.job
        if isinstance(job, LocalJob):
            if job.state == INTERRUPTED or (not self.local and job.is_done() and job.state != "COMPLETED"):
                sheep.job = None
            elif not job.is_done() and (host := job.elsewhere):
                self.log(f"{sheep.xp.sig} is {job.state.lower()} on {host} (job {job.job_id}): left alone; if that "
                         f"machine is gone it counts as interrupted {process.OLD_S // 60} minutes after its last word")
            elif not self.local and not job.is_done():
                self.log(f"{sheep.xp.sig} is {job.state.lower()} on this machine (job {job.job_id}): left alone")
        elif job is not None and self.local:
            if self._is_over(sheep):
                sheep.job = None
            elif not sheep.is_done():
                self.log(f"{sheep.xp.sig} is in Slurm as job {job.job_id}: left alone")
        super().maybe_submit_lazy(sheep, slurm_config, rules)
        if sheep.job is None:
            self._check(sheep)

    def _check(self, sheep) -> None:
        """Before anything is scheduled, what would fail at night."""
        if "${" in str(sheep.xp.folder):
            raise UserError(f"{self.main.dora.dir}: Hydra takes ${{ in a folder's name for a setting; set "
                            "MICRO_OUTPUTS to another folder")
        try:
            settings.check(sheep.xp.cfg)
            check_choices(sheep.xp.cfg)
            LMConfig.from_dict(OmegaConf.to_container(sheep.xp.cfg.transformer_lm, resolve=True))
        except UserError as error:
            raise UserError(f"the run {sheep.xp.sig} ({' '.join(sheep.xp.argv)}): {error}") from None
        store = sheep.xp.cfg.datasource.store
        if store is None:
            raise UserError(f"{' '.join(sheep.xp.argv)}: choose a data set: dset=audio/jungle, or "
                            "datasource.store=FOLDER")
        path = Path(git_save.to_absolute_path(str(store)))
        if not (path / RECORD).is_file():
            TokenStore(path)  # says what is the matter

    def commit(self):
        super().commit()
        queue = queue_of(self.main.dora, OPTIONS.grid)
        going = queue.going() if self.local else None
        changed = going and (OPTIONS.slots is not None or OPTIONS.retries is not None)
        if self._queued or changed:
            self._commit_queue(queue, going or {})
        elif going:
            queue.start_keeper()

    def _commit_queue(self, queue: Queue, going: dict) -> None:
        """What was not asked for stays as it is, as long as there are runs that go by it."""
        places = going["slots"] if going and OPTIONS.slots is None else machine_slots()
        retries = going.get("retries", RETRIES) if OPTIONS.retries is None else OPTIONS.retries
        queue.add(self._queued, self.main._full_name, places, retries)
        self._queued = {}
        self.log(f"{describe(places)}; what happens to them is in {queue.log}")

    def _cancel(self, jobs):
        mine = [job for job in jobs if isinstance(job, LocalJob)]
        theirs = [job for job in jobs if not isinstance(job, LocalJob)]
        if theirs:
            super()._cancel(theirs)
        stop(mine, self.log)

    def _submit(self, job_array):
        sheeps = job_array.sheeps
        if not sheeps:
            return
        clone = self._note_code(sheeps)
        if not self.local:
            super()._submit(job_array)
            return
        if job_array.slurm_config.gpus > 1:
            self.log(f"the runs ask for {job_array.slurm_config.gpus} GPUs; on this machine each gets one slot")
        for sheep in sheeps:
            try:
                self._queue(sheep, clone)
            except OSError as error:  # its folder is on a full disk, or may not be written: this run's trouble alone
                _give(sheep, LocalJob(sheep.xp.folder, reason=str(error)))
                self.log(f"{sheep.xp.sig} could not be queued: {error}")

    def _note_code(self, sheeps) -> Path | None:
        """Keep what the runs are made with; says what is not committed, and what changed since they began."""
        if self._code is None:
            self._code = version.version()
            if self._code.changed:
                differs = f"what differs is kept as {version.DIFF} with each run"
                self.log(f"the code is not committed ({self._code}); {differs}")
        save = sheeps[0].xp.dora.git_save
        if save and (self._code.dirty or self._code.commit is None or not Path.cwd().is_relative_to(version.ROOT)):
            self.log("git_save needs a clean checkout, and to be in it; the runs are made with the code as it is")
            save = self.main.dora.local_code = False
        for sheep in sheeps:
            sheep.xp.dora.git_save = save
            with contextlib.suppress(OSError):
                sheep.xp.folder.mkdir(parents=True, exist_ok=True)
            if different := version.note(sheep.xp.folder, self._code):
                self.log(f"{sheep.xp.sig} {different}")
        if not save:
            return None
        if self.local and self._existing_git_clone is None:
            self._existing_git_clone = git_save.get_new_clone(self.main)
        return self._existing_git_clone

    def _queue(self, sheep, clone: Path | None) -> None:
        """As Dora's ``_submit``, but for what submits."""
        xp = sheep.xp
        self.main.init_xp(xp)
        xp._xp_submitit.mkdir(exist_ok=True)
        xp.rendezvous_file.unlink(missing_ok=True)
        xp._latest_submitit.unlink(missing_ok=True)
        xp._latest_submitit.symlink_to(xp._xp_submitit)
        cwd, environ = os.getcwd(), {}
        if clone is not None:
            git_save.assign_clone(xp, clone)
            with git_save.enter_clone(clone):
                cwd, environ = os.getcwd(), {"_DORA_ORIGINAL_DIR": os.environ["_DORA_ORIGINAL_DIR"]}
        self._queued[xp.sig] = {"folder": str(xp.folder), "jobs": str(xp._xp_submitit), "by_id": str(self._by_id),
                                "argv": list(xp.argv), "cwd": cwd, "environ": environ}
        _give(sheep, LocalJob(xp.folder))
        self.log(f"Queued {xp.sig}/{self.main.get_name(xp)}")


def _give(sheep, job: LocalJob):
    sheep.job, sheep._other_jobs, sheep._dependent_jobs = job, [], []
    return sheep


def stop(jobs: list[LocalJob], log) -> None:
    """Stop runs of this machine, each with a checkpoint, and wait until they have.

    Raises:
        UserError: some have not, in ``LIMIT_S``.
        KeyboardInterrupt: with a word about what becomes of them.
    """
    jobs = [job for job in jobs if not job.is_done()]
    for folder in {str(Queue.of(job.folder).folder) for job in jobs}:
        Queue(Path(folder)).remove(job.folder.name for job in jobs if str(Queue.of(job.folder).folder) == folder)
    if jobs:
        log(f"Stopping {len(jobs)} run{'s' if len(jobs) > 1 else ''}; what trains writes a checkpoint first")
    end = time.monotonic() + LIMIT_S
    try:
        while left := [job for job in jobs if not job.is_done()]:
            if time.monotonic() > end:
                raise UserError(f"not stopped after {LIMIT_S / 60:.0f} minutes: "
                                f"{', '.join(str(job.folder) for job in left)}; see {Queue.of(left[0].folder).log}")
            time.sleep(WAIT_S)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"they stop by themselves, with a checkpoint each; then `dora grid {OPTIONS.grid} -r` "
                                "goes on") from None
