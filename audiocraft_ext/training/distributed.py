"""Several processes that train one model: where they meet, what they add up, how they end.

Each process takes its rows of every batch, and all have the same weights. Losses are divided by the targets of the
*global* batch, gradients are added up, and every process makes the same update; so the number of processes changes the
order of some sums and nothing else (and the random numbers of dropout: see :func:`seed_update`). Started by ``dora run
-d``, torchrun, or Slurm through submitit: :func:`dora.distrib.get_distrib_spec` knows all three.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from dora.distrib import get_distrib_spec, set_distrib_env
from torch import distributed as dist

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.training.watch import START_S, Watch, connect

# Of a collective. The others wait in one while the first process samples; those that wait for the dead are ended by
# the watch. (NCCL's own watchdog goes by the same number.)
PATIENCE = timedelta(days=7)
BUCKET = 2**25  # bytes that are added up at once: a copy of so much, and not of all gradients

_watch: Watch | None = None


class Stopped(KeyboardInterrupt):
    """All processes were asked to stop, and do so at the same update."""


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def local_size() -> int:
    """Processes of this run on this machine; known before they have met."""
    spec = get_distrib_spec()
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or spec.world_size // spec.num_nodes))


def share(batch_size: int) -> int:
    """Rows of a batch that each process takes.

    Raises:
        UserError: the batch cannot be divided evenly.
    """
    if batch_size % size():
        raise UserError(f"dataset.batch_size={batch_size} must be a multiple of the {size()} processes")
    return batch_size // size()


def launcher_gone() -> bool:
    """Whoever started the processes is no more: they should stop too."""
    return _watch is not None and _watch.orphaned


def verdict() -> None:
    """After an error that another process's death may have caused: if so, this one ends here, with the reason."""
    if _watch is not None:
        _watch.verdict()


@contextmanager
def group(device: str, tell: Callable[[str], None]) -> Iterator[None]:
    """All processes of the run, from here to the end of the block; nothing if there is one.

    On a GPU each process gets its own, as the current device. Tensors on the CPU go through gloo, those on a GPU
    through NCCL.

    Args:
        tell: called with one line if another process dies, before this one ends (exit code 1).

    Raises:
        UserError: too few GPUs, the processes did not meet.
    """
    global _watch
    if get_distrib_spec().world_size == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(_own_gpu())
    store, spec, peers = _meet()
    _watch = Watch(spec.rank, peers, tell)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", store=store, rank=spec.rank,
                                world_size=spec.world_size, timeout=PATIENCE)
        yield
    except (Stopped, SystemExit):
        _watch.leave()
        raise
    except BaseException as error:
        _watch.leave(error)
        raise
    _watch.leave()
    dist.destroy_process_group()


def _own_gpu() -> int:
    local, there = get_distrib_spec().local_rank, torch.cuda.device_count()
    if there == 1 and "SLURM_JOB_ID" in os.environ:  # a cluster may show each process its own
        return 0
    if local >= there:
        raise UserError(f"{local_size()} processes on this machine, which has {there} GPUs; start {there}, or set "
                        "device=cpu")
    return local


def _meet():
    """torch's store, shared by all processes, who this one is among them, and the connections of its watch."""
    spec = get_distrib_spec()
    os.environ["LOCAL_WORLD_SIZE"] = str(local_size())
    if "SLURM_JOB_NODELIST" not in os.environ:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    set_distrib_env()
    try:
        store, _, _ = next(dist.rendezvous("env://", spec.rank, spec.world_size, timeout=timedelta(seconds=START_S)))
        return store, spec, connect(spec.rank, spec.world_size, os.environ["MASTER_ADDR"], store)
    except (dist.DistNetworkError, dist.DistStoreError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(f"the {spec.world_size} processes cannot meet at {where} ({str(error).partition(chr(10))[0]}); "
                        "set MASTER_PORT to a free port, for all of them") from None


def seed_update(seed: int, update: int) -> None:
    """Random numbers of its own for each process in each update. They are no state: a run that goes on with the same
    number of processes is the same to the bit, with dropout too. A single process keeps the one stream that it has."""
    if size() > 1:
        words = np.random.SeedSequence([seed, update, rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]))


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, in place."""
    if size() > 1:
        dist.all_reduce(values)
    return values


def least(value: int) -> int:
    """The least of all processes' values."""
    values = torch.tensor([value])
    if size() > 1:
        dist.all_reduce(values, dist.ReduceOp.MIN)
    return int(values)


@torch.no_grad()
def total_gradients(parameters: Iterable[torch.nn.Parameter], *numbers: torch.Tensor) -> None:
    """Add up the gradients over all processes in place, and ``numbers`` (on the same device) along with them."""
    if size() == 1:
        return
    for bucket in _buckets([*(p.grad for p in parameters if p.grad is not None), *numbers]):
        flat = total(torch.cat([tensor.flatten() for tensor in bucket]))
        for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket])):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """In order, each of one type and of about :data:`BUCKET` bytes (or one tensor that is larger)."""
    bucket: list[torch.Tensor] = []
    filled = 0
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or filled + tensor.nbytes > BUCKET):
            yield bucket
            bucket, filled = [], 0
        bucket.append(tensor)
        filled += tensor.nbytes
    if bucket:
        yield bucket


def check_same_start(update: int, model: torch.nn.Module) -> None:
    """Raises:
        UserError: the processes did not begin with the same weights after the same update (folders that not all of
            them see).
    """
    if size() == 1:
        return
    weights = sum(float(parameter.detach().double().sum()) for parameter in model.parameters())
    mine = torch.tensor([update, weights], dtype=torch.float64)
    low, high = mine.clone(), mine.clone()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    if not torch.equal(low, high):
        raise UserError(f"the processes start from different states (updates {int(low[0])} to {int(high[0])}); the "
                        "run's folder must be on a disk that all of them see")
