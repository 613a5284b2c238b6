"""An LSTM's weights as ONNX Runtime takes them, and back: torch orders the gates i f g o, ONNX i o f g.

A bundle holds them in ONNX's order. Reordered when the graph loads, EnCodec's would be in memory three times over, 67
MB each, and take half of the loading.
"""

from __future__ import annotations

import re

import torch

_TORCH = re.compile(r"(.*\.lstm)\.weight_ih_l(\d+)")
_ONNX = re.compile(r"(.*\.lstm)\.W_l(\d+)")
_SWAP = [0, 3, 1, 2]  # ONNX's gates as positions of torch's
_BACK = [0, 2, 3, 1]


def to_onnx(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0`` to ``W_l0 [1, 4H, I]``, ``R_l0 [1, 4H, H]``,
    ``B_l0 [1, 8H]``; all else stays."""
    state = dict(state)
    for name in [n for n in state if _TORCH.fullmatch(n)]:
        stem, level = _TORCH.fullmatch(name).groups()
        w, r, b, c = (_gates(state.pop(f"{stem}.{kind}_l{level}"), _SWAP)
                      for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        state |= {f"{stem}.W_l{level}": w[None], f"{stem}.R_l{level}": r[None], f"{stem}.B_l{level}":
                  torch.cat([b, c])[None]}
    return state


def from_onnx(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of :func:`to_onnx`; nothing happens to torch's names."""
    state = dict(state)
    for name in [n for n in state if _ONNX.fullmatch(n)]:
        stem, level = _ONNX.fullmatch(name).groups()
        w, r, b = (state.pop(f"{stem}.{kind}_l{level}")[0] for kind in "WRB")
        parts = {"weight_ih": w, "weight_hh": r, "bias_ih": b[: len(b) // 2], "bias_hh": b[len(b) // 2 :]}
        state |= {f"{stem}.{kind}_l{level}": _gates(part, _BACK) for kind, part in parts.items()}
    return state


def _gates(weight: torch.Tensor, order: list[int]) -> torch.Tensor:
    gates = weight.chunk(4)
    return torch.cat([gates[i] for i in order])
