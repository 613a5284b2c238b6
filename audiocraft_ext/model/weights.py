"""Weights: do they fit a model (seen from names and shapes alone), and as files have them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from audiocraft_ext.core.errors import UserError


def differing(make: Callable[[], nn.Module], state: dict[str, torch.Tensor]) -> tuple[int, str] | None:
    """Compare ``state`` with the tensors of the model that ``make`` makes (on no device).

    Returns:
        None if every name and shape is as it should be; else how many are not, and the first of them in words.
    """
    with torch.device("meta"):
        want = {name: list(t.shape) for name, t in make().state_dict().items()}
    have = {name: list(t.shape) for name, t in state.items()}
    names = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
    if not names:
        return None
    first = names[0]
    return len(names), f"{first}: expected {want.get(first, 'none')}, got {have.get(first, 'none')}"


WRAPPINGS = ("_orig_mod.", "_fsdp_wrapped_module.")  # of torch.compile and FSDP, anywhere in a name
AROUND = ("module.", "model.", "lm.")  # of DistributedDataParallel, Lightning and other trainers, before all names


def plain_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without what wrappers put before their names: ``module.``, ``_orig_mod.``, ``model.`` and their like,
    in any order and number."""
    def bare(name: str) -> str:
        for wrapping in WRAPPINGS:
            name = name.replace(wrapping, "")
        return name

    state = {bare(name): value for name, value in state.items()}
    while state and (around := next((prefix for prefix in AROUND if all(n.startswith(prefix) for n in state)), None)):
        state = {name[len(around) :]: value for name, value in state.items()}
    return state


def stored(state: dict[str, torch.Tensor], half: bool) -> dict[str, torch.Tensor]:
    """As they are written: on the CPU, contiguous, fp32 or fp16 (``half``).

    Raises:
        UserError: some are not finite.
    """
    out = {name: value.detach().cpu().to(torch.float16 if half else torch.float32).contiguous()
           for name, value in state.items()}
    for name, value in out.items():
        if not value.isfinite().all():
            raise UserError(f"the weights {name} hold values that are not finite" + (" in fp16; leave out --half"
                                                                                  if half else "; the run diverged"))
    return out


SCALE = ".scale"  # behind the name of a matrix that is stored as int8: of each of its rows


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, floating ones and those that have a scale as float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"missing file: {path}")
    try:
        return _as_floats(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); get it again") from None


def _as_floats(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out = {}
    for name, value in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        scale = tensors.get(name + SCALE)
        out[name] = value.float() * scale[:, None] if scale is not None else (
            value.float() if value.is_floating_point() else value)
    return out


def write_safetensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Raises OSError, as other writers do, where safetensors has an error of its own that only names the system's."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from None
