"""audiocraft's own ``MusicGenSolver``, ready to train here: a config, an audio data set, an EnCodec, its token cache.

Its package comes without its configs, so what they say of a MusicGen without a conditioner is said again in `config`
(``solver/musicgen/musicgen_base_32khz``, ``model/lm/musicgen_lm``, ``conditioner/none`` of audiocraft 1.3.0).
"""

from __future__ import annotations

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import itertools
import os
import zipfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from audiocraft.data.audio_dataset import AudioMeta
from audiocraft.data.music_dataset import MusicInfo
from audiocraft.environment import AudioCraftEnvironment
from audiocraft.models import builders
from audiocraft.modules.transformer import set_efficient_attention_backend
from audiocraft.solvers.musicgen import MusicGenSolver
from audiocraft.utils.cache import CachedBatchLoader, CachedBatchWriter
from dora.conf import DoraConfig
from dora.xp import XP
from omegaconf import DictConfig, OmegaConf

from audiocraft_ext.audio.codec import audiocraft as audiocraft_codec
from audiocraft_ext.audio.codec.encodec import EncodecConfig
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.export import audiocraft
from audiocraft_ext.model import checkpoint
from audiocraft_ext.model.lm import LMConfig
from audiocraft_ext.sound.wav import write_wav
from audiocraft_ext.store.writer import StoreWriter
from data_prep.audio import manifest

STORE, CODEC = "store", "codec"
torch.serialization.add_safe_globals([MusicInfo, AudioMeta])  # dataclasses; what `CacheReader` finds in a cache
TRACKS = {"a": TRAIN, "b": TRAIN, "c": TRAIN, "d": VALID}


def write_data(folder: Path, codec: EncodecConfig, seconds: float) -> None:
    """Noise, in both forms: a token store of random codes for our solver, and what audiocraft's asks for, WAV files
    with its manifest and a codec with random weights in its own format of checkpoints."""
    rng = np.random.default_rng(0)
    spec = Spec("audio", codec.n_q, codec.card, codec.frame_rate, tuple(range(codec.n_q)), "encodec_32khz", "0" * 16)
    paths = {name: folder / f"{name}.wav" for name in TRACKS}
    about = {"seconds": seconds, "file_rate": codec.sample_rate, "amplitude": 0.5}
    with StoreWriter(folder / STORE, spec, {}) as writer:
        for name, split in TRACKS.items():
            writer.add(name, split, rng.integers(0, codec.card, (codec.n_q, round(seconds * codec.frame_rate))),
                       about=about)
            noise = rng.uniform(-0.5, 0.5, round(seconds * codec.sample_rate)).astype(np.float32)
            write_wav(paths[name], noise, codec.sample_rate)
        writer.finish()
    manifest.write(folder / STORE, manifest.rows_of(folder / STORE), paths, codec.frame_rate)
    cfg = OmegaConf.create(audiocraft_codec.codec_yaml(codec))
    cfg.seanet.norm = "weight_norm"  # as it is trained, and as the public one is loaded
    weights = builders.get_compression_model(cfg).state_dict()
    checkpoint.save({"best_state": weights, "xp.cfg": OmegaConf.to_yaml(cfg), "version": audiocraft.VERSION,
                     "exported": True}, folder / CODEC / audiocraft.CODEC_FILE)


def config(folder: Path, size: LMConfig, ours: DictConfig, workers: int) -> DictConfig:
    """audiocraft's config for the data in ``folder``; clips, batch, precision, optimiser, schedule and EMA of ``ours``.

    ``memory_efficient`` with the backend "torch" is its default: torch's fused attention.
    """
    every_split = {"num_samples": ours.dataset.batch_size * ours.optim.updates_per_epoch}
    lm = {"n_q": size.n_q, "card": size.card, "dim": size.dim, "num_heads": size.num_heads,
          "num_layers": size.num_layers, "hidden_scale": size.hidden_scale, "memory_efficient": True,
          "bias_proj": False, "bias_ff": False, "bias_attn": False, "norm_first": True, "dropout": 0.0,
          "activation": "gelu", "causal": True, "weight_init": "gaussian", "depthwise_init": "current",
          "zero_bias_init": True, "attention_as_float32": False, "positional_embedding": "sin", "norm": "layer_norm"}
    return OmegaConf.create({
        "solver": "musicgen", "lm_model": "transformer_lm", "transformer_lm": lm, "sample_rate": 32_000, "channels": 1,
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": list(range(size.n_q))}},
        "compression_model_checkpoint": f"//pretrained/{(folder / CODEC).absolute()}", "compression_model_n_q": None,
        "conditioners": None, "fuser": {"sum": [], "prepend": [], "cross": [], "input_interpolate": []},
        "classifier_free_guidance": {"training_dropout": 0.0, "inference_coef": 1.0},
        "attribute_dropout": {"text": {}, "wav": {}}, "tokens": {"padding_with_special_token": False},
        "cache": {"path": None, "write": False, "write_shard": 0, "write_num_shards": 1},
        "device": ours.device, "dtype": "float32", "autocast": ours.autocast, "autocast_dtype": "bfloat16",
        "seed": ours.seed, "execute_only": None, "benchmark_no_load": False,
        "fsdp": {"use": False}, "profiler": {"enabled": False}, "deadlock": {"use": False, "timeout": 600},
        "logging": {"log_updates": ours.logging.log_updates, "log_tensorboard": False, "log_wandb": False},
        "datasource": {"max_sample_rate": 32_000, "max_channels": 1,
                       **{split: str(folder / STORE / manifest.FOLDER / split) for split in (TRAIN, VALID)}},
        "dataset": {"batch_size": ours.dataset.batch_size, "segment_duration": ours.dataset.segment_duration,
                    "num_workers": workers, "return_info": True, "min_segment_ratio": 0.8, "sample_on_weight": False,
                    "sample_on_duration": False, "train": {**every_split, "shuffle": True},
                    "valid": {**every_split, "shuffle": False}, "evaluate": {}, "generate": {}},
        "generate": {"lm": {"use_sampling": True, "temp": 1.0, "top_k": 250, "top_p": 0.0}},
        "optim": {"epochs": ours.optim.epochs, "updates_per_epoch": ours.optim.updates_per_epoch,
                  "lr": ours.optim.lr, "optimizer": "adamw", "max_norm": ours.optim.max_norm, "eager_sync": True,
                  "adam": OmegaConf.to_container(ours.optim.adam),
                  "ema": OmegaConf.to_container(ours.optim.ema, resolve=True)},
        "schedule": {"lr_scheduler": "cosine", "cosine": OmegaConf.to_container(ours.schedule.cosine)},
    })


def build(folder: Path, cfg: DictConfig) -> MusicGenSolver:
    """The solver, in a run of its own below ``folder``."""
    set_efficient_attention_backend("torch")
    xp = XP(DoraConfig(dir=folder), cfg, [], sig="audiocraft")
    xp.folder.mkdir(parents=True, exist_ok=True)
    cluster = folder / "cluster.yaml"
    cluster.write_text("default: {}\n")  # one of the configs that its package lacks
    AudioCraftEnvironment.reset()
    with xp.enter(stack=True), patch.dict(os.environ, AUDIOCRAFT_CONFIG=str(cluster), AUDIOCRAFT_CLUSTER="default"):
        return MusicGenSolver(cfg)


class CacheReader(CachedBatchLoader):
    """audiocraft's token cache, read as it was written.

    Its own reader fails on every batch: it asserts that what is no tensor is one, and since 2.6 torch refuses its
    classes, unless they are named.
    """

    def _load_one(self, index: int):
        path = self._zip_path(index)
        if not path.exists():
            return None
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()[: self.batch_size]
            return [tuple(torch.load(packed.open(name), "cpu", weights_only=True)[0] for name in names)]


def write_cache(solver: MusicGenSolver, path: Path, batches: int) -> None:
    """The first ``batches`` of an epoch, encoded and written by audiocraft's own code; no update is made."""
    solver._cached_batch_writer = writer = CachedBatchWriter(path)
    writer.start_epoch(1)

    def encode() -> None:
        solver.model.train()
        for batch in itertools.islice(solver.dataloaders["train"], batches):
            solver._prepare_tokens_and_attributes(batch)

    solver._current_stage = "train"
    try:
        encode()
    finally:
        solver._current_stage = solver._cached_batch_writer = None


def use_cache(solver: MusicGenSolver, path: Path | None) -> None:
    """Train from the cache at ``path``, the same one in every epoch, or from audio; what the solver's constructor does
    with ``cache.path``, so that one model serves both ways."""
    audio = solver.dataloaders.pop("original_train", solver.dataloaders["train"])
    solver.dataloaders["train"], solver._cached_batch_loader = audio, None
    if path is None:
        return
    dataset = solver.cfg.dataset
    reader = CacheReader(path, dataset.batch_size, dataset.num_workers, solver.cfg.optim.updates_per_epoch)
    reader.start_epoch = lambda epoch: CachedBatchLoader.start_epoch(reader, 1)
    solver.dataloaders |= {"original_train": audio, "train": reader}
    solver._cached_batch_loader = reader
