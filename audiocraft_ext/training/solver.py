"""The one training loop: audiocraft's solver, fed with codes from a token store.

A subclass of audiocraft's ``StandardSolver``: stages, history, best state, EMA swap, TensorBoard and Dora's folders
are its own. (``MusicGenSolver``, between the two, is all about audio: it encodes it in every step, caches it, prompts
with it.) Each method here says what upstream does and why that does not serve. Nothing below knows what a code means;
only :meth:`StreamSolver.generate` asks the codec, and only to write what it made as a file.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import dora
import flashy
import torch
from audiocraft.solvers import builders
from audiocraft.solvers.base import StandardSolver
from audiocraft.utils.checkpoint import flush_stale_checkpoints
from dora import git_save
from omegaconf import OmegaConf

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export import sources
from audiocraft_ext.model import checkpoint
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.runs.identity import check_same_run, identity
from audiocraft_ext.runs.record import Record
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.training import distributed, memory
from audiocraft_ext.training.checks import can_autocast, check_config, check_window, delays_of
from audiocraft_ext.training.dataset import StreamDataset, StreamLoader, window_frames
from audiocraft_ext.training.distributed import Stopped
from audiocraft_ext.training.judge import Judge, rank, sampled
from audiocraft_ext.training.loss_scale import LossScaler
from audiocraft_ext.training.optimizers import get_optimiser
from audiocraft_ext.training.progress import TrainingProgress
from audiocraft_ext.training.state import CountedEMA, RandomState
from audiocraft_ext.training.stopping import Interrupted, Stopping
from audiocraft_ext.training.tracking import Trackers, get_trackers
from audiocraft_ext.training.update import NotFinite, Updater

SHOWN = 8  # streams whose loss is in the log


class StreamSolver(StandardSolver):
    """Trains an :class:`~audiocraft_ext.model.lm.LM` on a :class:`~audiocraft_ext.store.reader.TokenStore`."""

    def __init__(self, cfg, record: Record | None = None):
        """``record``: where the run says how it is doing; None in all processes of a run but the first."""
        check_config(cfg)
        self.store = TokenStore(Path(cfg.datasource.store))
        for key in ("n_q", "card"):
            if cfg.transformer_lm[key] is None:
                cfg.transformer_lm[key] = getattr(self.store.spec, key)
        if cfg.codebooks_pattern.delay.delays is None:
            cfg.codebooks_pattern.delay.delays = list(self.store.spec.delays)
        self.lm_config = LMConfig.from_dict(OmegaConf.to_container(cfg.transformer_lm, resolve=True))
        self.spec = self._checked_spec(cfg)
        self.frames = window_frames(self.spec, cfg.dataset.get("segment_duration"), cfg.dataset.get("segment_frames"),
                                    "dataset.segment")  # without the prompt
        check_window(self.lm_config, self.spec, self.frames)
        kind = kinds.kind_of(self.spec)
        self.judge = Judge(self.store, cfg.generate.judge.every, cfg.generate.judge.clips)
        self.view = kind.view(self.store, OmegaConf.to_container(cfg.dataset.view, resolve=True))
        self.meaning = kind.codec_config(self.store)  # its name in checkpoints
        if self.view is not None:
            cfg.dataset.view = self.view.options  # a run is what they are, not what their defaults were
        self._no_half = cfg.autocast and cfg.device == "cuda" and not can_autocast(cfg)
        cfg.autocast = bool(cfg.autocast and can_autocast(cfg))  # upstream would run half precision anywhere
        self._fit_memory(cfg)
        # Of the epoch under way: updates done, and the sums of their metrics. A run that is resumed inside an epoch
        # reports all of it.
        self.progress = {"step": 0, "unknown": 0, "sums": {}}
        self._saved_at = None
        self.stopping = Stopping(self._last_checkpoint)
        self.record = record
        super().__init__(cfg)
        self.trackers = get_trackers(cfg, record, self.tensorboard) if distributed.rank() == 0 else Trackers([])
        self.updates_per_epoch = self.train_updates_per_epoch
        self.random_state = RandomState()
        self.identity = identity(OmegaConf.to_container(cfg, resolve=True), list(cfg.dora.exclude), self.store.hash,
                                 self.spec.to_dict())
        self.register_stateful("progress", "random_state")
        self.register_stateful("identity", *(["meaning"] if self.meaning else []), write_only=True)

    @property
    def best_metric_name(self) -> str:
        """The state with the lowest validation loss is kept as the best, or the one that is judged best."""
        return "ce"

    def update_best_state_from_stage(self, stage_name: str = VALID) -> None:
        """Upstream goes by one metric of every epoch; clips are judged in some epochs only."""
        if not self.judge.every:
            super().update_best_state_from_stage(stage_name)
            return
        metrics = self._pending_metrics[stage_name]
        if self.judge.due(self.epoch, self.cfg.optim.epochs):
            metrics |= self._judged()
        past = [rank(epoch[stage_name]) for epoch in self.history if stage_name in epoch]
        self._new_best_state = rank(metrics) <= min([*past, rank(metrics)])
        if self._new_best_state:
            self.best_state.update("model", self.model)

    @property
    def _guided(self) -> bool:
        """Whether the model learns to play without its controls too."""
        return bool(self.cfg.dataset.get("drop_controls"))

    def _judged(self) -> dict[str, float]:
        """Figures of clips of the model as it is, the same in all processes."""
        cfg, names, values = self.cfg.generate, ("kad", "pulse", "score"), torch.zeros(3, dtype=torch.float64)
        if flashy.distrib.is_rank_zero():
            frames = window_frames(self.spec, cfg.lm.get("gen_duration"), cfg.lm.get("gen_frames"), "generate.lm.gen")
            with self._stoppable():
                codes = sampled(self.model, self.spec, self.meaning, self.judge.clips, frames, self.cfg.seed,
                                self._sampling(), self._guided)
            figures = self.judge.figures(codes)
            values = torch.tensor([figures[name] for name in names], dtype=torch.float64)
        figures = dict(zip(names, self.stopping.total(values).tolist()))
        self.trackers.point("clips", self.updates_done, figures)
        self.logger.info("Clips: %s", ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        return figures

    def _sampling(self) -> Sampling:
        lm = self.cfg.generate.lm
        return Sampling(lm.temp, lm.top_k, lm.get("top_p", 1.0))

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Sampling that looks before each step whether it should stop."""
        hook = self.model.register_forward_pre_hook(self._stop_sampling_if_asked)
        try:
            yield
        finally:
            hook.remove()

    def _checked_spec(self, cfg) -> Spec:
        """The store's spec with the model's delays, once both are known to speak of the same codes."""
        spec, where = self.store.spec, f"the store {cfg.datasource.store}"
        if cfg.codec is not None and cfg.codec != spec.codec:
            raise UserError(f"{where} was made by the codec {spec.codec}, the config names codec={cfg.codec}; "
                            f"prepare the data again with --codec {cfg.codec}, or set codec={spec.codec}")
        for key in ("n_q", "card"):
            if cfg.transformer_lm[key] != getattr(spec, key):
                raise UserError(f"transformer_lm.{key}={cfg.transformer_lm[key]}, but {where} has "
                                f"{key}={getattr(spec, key)}; set transformer_lm.{key}={getattr(spec, key)}")
        return spec.with_delays(delays_of(cfg))

    def _fit_memory(self, cfg) -> None:
        """Refuse a batch that cannot fit before anything is built; choose one if asked to."""
        sizes = dict(frames=self.spec.prompt + self.frames, half=cfg.autocast, device=cfg.device,
                     ema=cfg.optim.ema.use and cfg.optim.ema.device == cfg.device, optimiser=cfg.optim.optimizer)
        chosen = dora.get_xp().folder / "auto_batch_size"  # kept: a run goes on with the batch it began with
        auto = cfg.dataset.batch_size == "auto"
        free = memory.available_bytes(cfg.device)
        if cfg.device == "cpu":
            free //= distributed.local_size()
        if auto:
            kept = distributed.least(int(chosen.read_text()) if chosen.exists() else 0)
            fits = distributed.least(kept or memory.largest_batch(self.lm_config, free=free, most=64, **sizes) or 1)
            cfg.dataset.batch_size = kept or fits * distributed.size()
        self.rows = distributed.share(cfg.dataset.batch_size)
        self._memory_line = memory.check_fits(self.lm_config, self.rows, cfg.optim.accumulate, free=free,
                                              processes=distributed.size(), **sizes)
        if auto and distributed.rank() == 0:
            chosen.write_text(str(cfg.dataset.batch_size))

    def build_dataloaders(self) -> None:
        """Upstream opens audio files and encodes them in every step; here the codes are there already."""
        cfg = self.cfg.dataset
        self.logger.info("%s", self._memory_line)
        if self._no_half:
            self.logger.warning("This GPU has no bfloat16, so float32 it is; autocast_dtype=float16 is quicker")
        common = dict(frames=self.frames, seed=self.cfg.seed, view=self.view)
        train = StreamDataset(self.store, TRAIN, num_samples=cfg.train.num_samples,
                              sample_on_duration=cfg.sample_on_duration, share=cfg.train.share,
                              drop_controls=cfg.get("drop_controls", 0.0), **common)
        valid = StreamDataset(self.store, VALID, num_samples=cfg.valid.num_samples, **common)
        self.logger.info("%s", baseline.line(self.store))
        rank, world = distributed.rank(), distributed.size()
        self.dataloaders = {
            "train": StreamLoader(train, self.rows, self.cfg.optim.updates_per_epoch, rank, world),
            "valid": StreamLoader(valid, self.rows, None, rank, world),
        }

    def build_model(self) -> None:
        """Upstream also loads the codec, to encode with; here it may not even be on this machine."""
        self.model = LM(self.lm_config, self.spec.delays, self.spec.sizes, self.spec.gates).to(self.device)
        if self.cfg.compile:
            self.model.compile_layers()
        self.register_ema("model")
        self.optimizer = get_optimiser(self.model, self.cfg.optim)
        warmup = self.cfg.schedule.cosine.warmup
        if self.cfg.schedule.lr_scheduler == "cosine" and warmup == self.total_updates:  # upstream divides by 0 then
            raise UserError(f"schedule.cosine.warmup={warmup} is as long as the run; set "
                            f"schedule.cosine.warmup={warmup // 10}, or make the run longer")
        self.lr_scheduler = builders.get_lr_scheduler(self.optimizer, self.cfg.schedule, self.total_updates)
        self.register_stateful("model", "optimizer", "lr_scheduler")
        self.best_state.dtype = None  # upstream rounds to the autocast dtype, and what is exported is the best state
        self.register_best_state("model")
        self.autocast_dtype = getattr(torch, self.cfg.autocast_dtype)
        half = self.cfg.autocast and self.autocast_dtype == torch.float16  # bfloat16 has the range of float32
        self.scaler = LossScaler(self.device, enabled=half)
        self.register_stateful("scaler")
        self.updater = Updater(self.model, self.optimizer, self.autocast, self.cfg.optim.accumulate,
                               self.cfg.optim.max_norm, self.scaler)

    def initialize_ema(self) -> None:
        """Upstream's, with a count of its own (see :class:`CountedEMA`)."""
        cfg = self.cfg.optim.ema
        self.ema = None
        if cfg.use:
            self.ema = CountedEMA(self._ema_sources, decay=cfg.decay, device=cfg.device, every=cfg.updates)

    def show(self) -> None:
        self.log_model_summary(self.model)

    def get_formatter(self, stage_name: str) -> flashy.Formatter:
        """Upstream hides the loss of each codebook, which is what tells a codec's story. Of many streams it would fill
        the screen; TensorBoard has it."""
        hidden = ["ce_q*"] if self.spec.n_q > SHOWN else []
        return flashy.Formatter({"lr": ".2E", "ce*": ".4f", "grad_norm": ".2f", "tokens_s": ".0f", "left_min": ".1f",
                                 "mem_gib": ".2f", "duration": ".1f", "loss_scale": ".0f", "skipped": ".0f"},
                                exclude_keys=hidden, include_formatted=not hidden)

    def log_progress(self, stage_name, iterable, total=None, updates=5):
        """Upstream's log lines with a bar, and TensorBoard by the update instead of only by the epoch."""
        bar = TrainingProgress(self.logger, iterable, updates=updates, total=total, formatter=self.formatter,
                               name=f"{stage_name.capitalize()} | Epoch {self.epoch}", delimiter="|")
        if stage_name == TRAIN:
            bar.follow(self.trackers, self.updates_done, self.total_updates)
        return bar

    @property
    def tensorboard(self):
        """TensorBoard's writer, or None if it is off."""
        logger = self.result_logger._experiment_loggers.get("tensorboard")
        return logger.writer if logger else None

    def init_wandb(self, **kwargs) -> None:
        """Upstream's asks the network for the run's past before it starts; :mod:`audiocraft_ext.training.tracking` does
        it."""

    @property
    def updates_done(self) -> int:
        """Optimizer updates since the start of the run."""
        return (self.epoch - 1) * self.updates_per_epoch + self.progress["step"]

    def train(self) -> dict:
        """Upstream starts an epoch at its first batch; a resumed run starts at the batch it stopped before."""
        loader = self.dataloaders["train"]
        loader.epoch, loader.first = self.epoch, self.progress["step"]
        self._clock, self._paces = time.monotonic(), deque(maxlen=20)  # seconds of the last updates
        self.train_updates_per_epoch = self.updates_per_epoch - loader.first
        try:
            if self.train_updates_per_epoch:  # none is left where the run stopped in the validation
                super().train()
        finally:
            self.train_updates_per_epoch = self.updates_per_epoch
        counted = self.progress["step"] - self.progress.get("unknown", 0)  # losses
        metrics = {key: total / counted for key, total in self.progress["sums"].items()}
        if self.epoch == 1 and counted:
            metrics["ce_first"] = self.progress["ce_first"]
        return metrics

    def common_train_valid(self, dataset_split: str, **kwargs) -> dict:
        """Upstream's validation loss is the mean of its batches', and that of each process; ours is that of all codes,
        however they were divided."""
        self._valid = torch.zeros(2, self.spec.n_q, dtype=torch.float64)  # per stream: the sum of the losses, targets
        metrics = super().common_train_valid(dataset_split, **kwargs)
        return metrics if self.is_training else metrics | self._mean_losses(*self._valid)

    def run_step(self, idx: int, batch: torch.Tensor, metrics: dict) -> dict:
        """One update or one validation batch, ``codes [B, K, T]``: this process's rows of it.

        Upstream encodes audio, fuses conditions, has one backward pass an update, and looks for a loss that is not
        finite after the weights have taken it in.
        """
        if not self.is_training:
            return self._valid_step(batch)
        targets = self.stopping.total(self.model.targets(batch))
        self._save_if_due()
        distributed.seed_update(self.cfg.seed, self.updates_done)
        lr = self.optimizer.param_groups[0]["lr"]
        try:
            done = self.updater(batch.to(self.device), targets.to(self.device))
        except NotFinite as error:
            raise UserError(f"{error} at update {self.updates_done + 1}; the weights were left alone. "
                            f"{self._last_checkpoint()} Try a lower optim.lr{self.scaler.instead}.") from None
        if done.skipped:
            self.logger.warning("Update %d was skipped, too large for float16: the loss scale is %g now, %d skipped "
                                "so far", self.updates_done + 1, self.scaler.get_scale(), self.scaler.skipped)
        if self.lr_scheduler:
            self.lr_scheduler.step()
        self.progress["step"] += 1
        if self.ema is not None:
            self.ema.update(self.updates_done)
        now = time.monotonic()
        self._paces.append(now - self._clock)
        took, self._clock = statistics.median(self._paces), now  # one may have waited for a checkpoint
        metrics |= {"lr": lr, **self._losses(done.ce, done.each), "grad_norm": done.norm}
        if self.scaler.is_enabled():
            metrics |= {"loss_scale": self.scaler.get_scale(), "skipped": self.scaler.skipped}
        metrics["tokens_s"] = batch.numel() * distributed.size() / took
        metrics["left_min"] = took * (self.total_updates - self.updates_done) / 60
        metrics["mem_gib"] = memory.peak_bytes(self.device) / memory.GIB
        if not math.isfinite(done.ce):
            self.progress["unknown"] = self.progress.get("unknown", 0) + 1
        else:
            self.progress.setdefault("ce_first", done.ce)  # what the loss was before anything was learned
            sums = self.progress["sums"]
            for key, value in metrics.items():
                sums[key] = sums.get(key, 0.0) + value
            self._tell_status(metrics)
        return metrics

    def _valid_step(self, batch: torch.Tensor) -> dict:
        """Of a last batch that is short a process may have no row; it adds up with the others all the same."""
        targets = self.model.targets(batch)
        each = torch.zeros(self.spec.n_q)
        if len(batch):
            with self.autocast:
                _, each = self.model.losses(batch.to(self.device))
        totals = self.stopping.total(torch.stack([each.cpu().double() * targets, targets.double()]))
        self._valid += totals
        return self._mean_losses(*totals)

    def _tell_status(self, metrics: dict) -> None:
        if self.record is not None:
            self.record.status(step=self.updates_done, steps=self.total_updates, epoch=self.epoch,
                               epochs=self.cfg.optim.epochs, left_s=round(60 * metrics["left_min"]), metrics=metrics)

    def _losses(self, ce: float, each: list[float]) -> dict:
        return {"ce": ce, **{f"ce_q{k + 1}": loss for k, loss in enumerate(each[: self.spec.clip.n_q])}}

    def _mean_losses(self, sums: torch.Tensor, targets: torch.Tensor) -> dict:
        """Both ``[K]``; the mean over the streams, as in :meth:`LM.losses`."""
        each = sums / targets.clamp(min=1)
        return self._losses(float(each[: self.spec.clip.n_q].mean()), each.tolist())

    def log_metrics(self, stage_name: str, metrics: dict, formatter=None) -> None:
        """Upstream's log lines, and the trackers; of training they hear by the update."""
        super().log_metrics(stage_name, metrics, formatter)
        if stage_name == TRAIN:
            return
        self.trackers.point(stage_name, self.updates_done, metrics)
        if stage_name == VALID and self.record is not None:
            losses = [past[VALID]["ce"] for past in self.history if VALID in past]
            self.record.status(now=True, valid=metrics["ce"], best=min([*losses, metrics["ce"]]))

    def should_run_stage(self, stage_name: str) -> bool:
        """Upstream always generates and evaluates after the last epoch, whatever ``every`` says."""
        return self.cfg[stage_name].use and super().should_run_stage(stage_name)

    def evaluate(self) -> dict:
        """Upstream's metrics need classifiers of real music; the loss of the best state is what we trust."""
        self.model.eval()
        return self.common_train_valid(VALID)

    def generate(self) -> dict:
        """Clips from the best state, as files and in TensorBoard. Upstream prompts with audio and needs its codec."""
        from audiocraft_ext.training.samples import write_samples

        if not flashy.distrib.is_rank_zero():  # all would make the same clips, and write them over each other
            return {}
        cfg = self.cfg.generate
        self.model.eval()
        folder = self.folder / cfg.path / ("best" if self.cfg.execute_only else f"epoch_{self.epoch}")
        frames = window_frames(self.spec, cfg.lm.get("gen_duration"), cfg.lm.get("gen_frames"), "generate.lm.gen")
        with self._stoppable():
            made = write_samples(self.model, self.spec, self.meaning, folder, cfg.num_samples, frames, self.cfg.seed,
                                 self._sampling(), self.trackers, self.updates_done, self.logger, self._guided)
        if self.record is not None:
            self.record.status(now=True, samples=str(folder.relative_to(self.folder)))
        return made

    def run(self) -> None:
        """Upstream's epochs, started where the checkpoint stopped and left in good order."""
        self._saved_at = time.monotonic()
        with self.stopping.listening():
            try:
                super().run()
            except Interrupted:
                self.save_checkpoints(by_epoch=False)
                self.stopping.hand_back()
                raise Stopped(f"{self._last_checkpoint()} The same command goes on from it.") from None

    def run_epoch(self) -> None:
        super().run_epoch()
        self.progress |= {"step": 0, "unknown": 0, "sums": {}}

    def run_one_stage(self, stage_name: str) -> None:
        """Upstream takes the best state, which before the first validation is what the run began with."""
        if not self.history:
            with self.swap_ema_state():
                self.best_state.update("model", self.model)
        super().run_one_stage(stage_name)

    def _stop_sampling_if_asked(self, *_) -> None:
        """Before each step of a clip. The other processes wait in the first update of the next epoch, if there is
        one."""
        if self.stopping.asked:
            if not self.cfg.execute_only and self.epoch < self.cfg.optim.epochs:
                self.stopping.total(torch.zeros(self.spec.n_q))
            raise Interrupted

    def _save_if_due(self) -> None:
        """Between two updates: everything that the last one changed is in place."""
        minutes = self.cfg.checkpoint.save_minutes
        if minutes and time.monotonic() - self._saved_at > 60 * minutes:
            self.save_checkpoints(by_epoch=False)

    def _last_checkpoint(self) -> str:
        path = self.checkpoint_path()
        return f"The last checkpoint is {path}." if path.exists() else "No checkpoint was written yet."

    def save_checkpoints(self, by_epoch: bool = True) -> None:
        """Upstream renames without flushing to the disk, and only between epochs."""
        if not flashy.distrib.is_rank_zero():
            return
        self._saved_at = time.monotonic()
        state, epoch, cfg = self.state_dict(), self.epoch - 1, self.cfg.checkpoint
        if by_epoch and cfg.save_every and epoch % cfg.save_every == 0:
            keep = {*(cfg.keep_every_states or state), "xp.cfg", "xp.sig", "identity", "meaning"}  # for an export
            checkpoint.save({k: v for k, v in state.items() if k in keep},
                            self.epoch_checkpoint_path(epoch))
        if cfg.save_last:
            checkpoint.save(state, self.checkpoint_path())
        flush_stale_checkpoints(self.checkpoint_path(), cfg.keep_last)

    def state_dict(self) -> dict:
        """Upstream pickles its config object; plain values say the same and are read safely anywhere."""
        return super().state_dict() | {"xp.cfg": OmegaConf.to_container(self.cfg, resolve=True)}

    def restore(self, *args, **kwargs) -> bool:
        """Upstream reads the history from a file of its own; the checkpoint's is the one that belongs to the weights.

        Raises:
            UserError: one stage of a trained model was asked for, and nothing has been trained.
        """
        if not self.checkpoint_path().exists():
            if self.cfg.execute_only and not self.cfg.continue_from:
                raise UserError(f"execute_only={self.cfg.execute_only} needs a trained run, but there is no "
                                f"{self.checkpoint_path()}; train first with the same command less execute_only")
            self.history.clear()
        restored = super().restore(*args, **kwargs)
        distributed.check_same_start(self.updates_done, self.model)
        if flashy.distrib.is_rank_zero():
            self.xp.link.update_history(self.history)
        return restored

    def load_checkpoints(self, load_best: bool = False, ignore_state_keys: Sequence[str] = ()) -> dict | None:
        """This run's checkpoint, else the weights of `continue_from`.

        Upstream unpickles the file as it comes, and to find another run it imports audiocraft.train, which fails
        without a folder of configs that the installed package does not have. Its two options serve its own tools.
        """
        state = None
        if self.checkpoint_path().exists():
            state = checkpoint.load(self.checkpoint_path())
            self.load_state_dict(state)
        elif self.cfg.continue_from:
            source = str(self.cfg.continue_from).removeprefix("//sig/")
            absolute = git_save.to_absolute_path(source)
            weights, spec = sources.read_weights(absolute if Path(absolute).exists() else source, self.lm_config,
                                                 self.folder.parent)
            if spec is not None:
                spec.check_same_stream(self.spec, f"continue_from={source}", f"the store {self.cfg.datasource.store}")
            self.model.load_state_dict(weights)
            self.best_state.update("model", self.model)
            self.initialize_ema()
            self.logger.info("Starting from the weights of %s", source)
        return state

    def load_state_dict(self, state: dict) -> None:
        """Upstream resumes whatever lies in the folder."""
        if "identity" in state:
            check_same_run(state["identity"], self.identity, str(self.checkpoint_path()), list(self.cfg.dora.exclude))
        super().load_state_dict(state)
