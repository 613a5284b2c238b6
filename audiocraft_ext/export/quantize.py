"""Weights of a matrix product in 8 and in 4 bits: what a step of the LM reads is a quarter or an eighth. And all
matrices as 8 bits on the disk alone (:func:`in_bytes`), which are fp32 again when they are loaded.

Both round to nearest, without data. What that costs in cross entropy is measured (``python -m
benchmarks.sampling.precision``, docs/RUNS.md); the way a row is quantised at run time is in
:mod:`audiocraft_ext.export.onnx_lm`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import QUANTISED
from audiocraft_ext.model.config import LMConfig
from audiocraft_ext.model.weights import SCALE, stored, write_safetensors

PRECISIONS = ("fp32", *QUANTISED)
WEIGHT_MAX = 63  # 7 bits: two products of a row (8 bits) and a weight never overflow the 16 bits that AVX2 adds them in
STORED_MAX = 127  # of a weight that is fp32 before it is multiplied
BLOCK = 32  # weights of one row that share a scale in 4 bits
HEADS = "linears"  # the K heads read the same vector: quantised, they are one matrix


def int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``[out, in]`` to ``int8 [in, out]`` and a scale for each output, ``float32 [out]``."""
    q, scale = _rows(weight, WEIGHT_MAX)
    return q.T.contiguous(), scale


def int4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``[out, in]`` to the layout of ONNX Runtime's ``MatMulNBits``: two weights a byte, the first in the low half.

    Returns:
        ``uint8 [out, blocks, BLOCK / 2]``, scales ``float32 [out * blocks]``, zero points ``uint8 [out * ceil(blocks /
        2)]``, packed as the weights.
    """
    rows, columns = weight.shape
    blocks = columns // BLOCK
    w = weight.float().reshape(rows, blocks, BLOCK)
    low, high = w.amin(dim=2).clamp(max=0), w.amax(dim=2).clamp(min=0)
    scale = ((high - low) / 15).clamp(min=1e-12)
    zero = (-low / scale).round().clamp(0, 15)
    q = ((w / scale[..., None]).round() + zero[..., None]).clamp(0, 15).to(torch.uint8)
    zero = torch.nn.functional.pad(zero.to(torch.uint8), (0, blocks % 2))
    return _pack(q), scale.reshape(-1), _pack(zero).reshape(-1)


def in_bytes(state: dict[str, torch.Tensor], cfg: LMConfig) -> dict[str, torch.Tensor]:
    """An LM with its matrices and tables as ``int8 [rows, columns]`` and ``NAME.scale``, ``float32 [rows]``; all else,
    and products that are ``exact``, fp32. :func:`audiocraft_ext.model.weights.read_safetensors` reads it."""
    exact = {name for name, product in cfg.matrices().items() if product.exact}
    out = {}
    for name, weight in stored(state, False).items():
        if weight.ndim == 2 and name not in exact:
            out[name], out[name + SCALE] = _rows(weight, STORED_MAX)
        else:
            out[name] = weight
    return out


def _rows(weight: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounded to ``int8 [out, in]`` from -most to most, with a scale for each row ``[out]``."""
    scale = weight.float().abs().amax(dim=1).clamp(min=1e-12) / most
    return (weight.float() / scale[:, None]).round().to(torch.int8), scale


def _pack(nibbles: torch.Tensor) -> torch.Tensor:
    return (nibbles[..., 0::2] | (nibbles[..., 1::2] << 4)).contiguous()


def write(state: dict[str, torch.Tensor], cfg: LMConfig, precision: str, out: Path) -> None:
    """Write an LM with its matrices quantised, ``NAME.int8`` or ``NAME.int4`` with what belongs to each; the embeddings
    are fp16 (their rows are rounded by 2**-11, far less than the matrices), norms, biases and products that
    are ``exact`` fp32.

    Raises:
        UserError: a size that 4 bits do not take.
    """
    matrices = {name.removesuffix(product.weight) + product.name: state[name]
                for name, product in cfg.matrices().items() if not product.exact}
    matrices[HEADS] = torch.cat([state[f"linears.{k}.weight"] for k in range(cfg.n_q)])
    exact = [name for name, product in cfg.matrices().items() if product.exact]
    tensors = {name: w.half().contiguous() if name.startswith("emb.") else w.float().contiguous()
               for name, w in state.items() if name.startswith("emb.") or w.ndim == 1 or name in exact}
    for name, weight in matrices.items():
        if precision == "int8":
            tensors[f"{name}.int8"], tensors[f"{name}.scale"] = int8(weight)
        else:
            if weight.shape[1] % BLOCK:
                raise UserError("int4 needs transformer_lm.dim, and what else goes into a product, to be a multiple of "
                                f"{BLOCK}, got {weight.shape[1]} for {name}; leave int4 out")
            tensors[f"{name}.int4"], tensors[f"{name}.scale"], tensors[f"{name}.zero"] = int4(weight)
    write_safetensors(tensors, out, {"format": "pt"})
