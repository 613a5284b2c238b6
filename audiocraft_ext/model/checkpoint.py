"""Training checkpoints, read and written with care (L2: torch and omegaconf, no audiocraft).

A checkpoint is a dict saved by ``torch.save``. Reading one never runs code that lies in it: ``weights_only=True``
throughout, and of the classes beyond torch's own only the ten in `SAFE_CLASSES` are let through, which is what
audiocraft's config ('xp.cfg', an OmegaConf ``DictConfig``) is made of. 'xp.cfg' stays an OmegaConf object or, in
audiocraft's exports, a YAML string, because audiocraft expects them so; `config_of` turns either into a plain dict.
"""

from __future__ import annotations

import collections
import pickle
import re
import sys
import typing
import zipfile
from pathlib import Path

import omegaconf
import torch
import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import atomic

# What torch.serialization.get_unsafe_globals_in_checkpoint finds in the checkpoints of audiocraft's solvers. None of
# them does anything when it is built but hold values; builtins are named in the metadata as the types of the nodes.
SAFE_CLASSES: list = [DictConfig, ListConfig, omegaconf.base.ContainerMetadata, omegaconf.base.Metadata,
                      omegaconf.nodes.AnyNode, typing.Any, collections.defaultdict, dict, list, int]
# For the whole process and for good: torch's context manager for it takes away at its end what was allowed before,
# and what other threads are in need of. It also serves audiocraft's own calls of torch.load.
torch.serialization.add_safe_globals(SAFE_CLASSES)


def load(path: Path | str, map_location: str | torch.device = "cpu", mmap: bool = False) -> dict:
    """The dict that a checkpoint holds.

    Args:
        map_location: the device for the tensors.
        mmap: leave the tensors in the file and read them when they are used; then they are not compared with their
            checksums.

    Raises:
        UserError: the file is missing, truncated, damaged, no checkpoint, or holds an object of a class that is not
            allowed.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: expected a checkpoint file, found a folder; name the file in it")
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint; check the path")
    try:
        path.open("rb").close()  # permissions and the like; torch's own OSError can also mean that the file is cut off
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        state = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except MemoryError:
        raise
    except Exception as error:  # bytes that are no checkpoint can end in nearly any exception
        classes = _refused_classes(path) or _classes_named_by(error)
        if classes:
            raise UserError(f"{path}: refused, because it holds objects of {', '.join(classes)}: unpickling them would "
                            "run code that the file chooses. Expected tensors, plain values and an OmegaConf config; "
                            "save it without them where you trust it") from error
        # torch wraps the unpickler's words in advice to switch the safety off, which is no advice for a damaged file
        words = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n")[0].split(". ")[0][:200]
        reason = f"{type(error).__name__}: {words}".rstrip(": ")
        raise UserError(f"{path}: not a readable checkpoint, it may be truncated or of another format ({reason}); "
                        "use another checkpoint or copy it again") from error
    if not mmap and (part := _damaged_part(path)):
        raise UserError(f"{path}: is damaged, {part} in it is not what was written; use another checkpoint or copy it "
                        "again")
    if not isinstance(state, dict):
        raise UserError(f"{path}: expected a checkpoint with a dict in it, found a {type(state).__name__}")
    return state


def _damaged_part(path: Path) -> str | None:
    """The first file in the archive whose checksum is not that of its bytes; torch compares none. None where all are
    right, or where the format of before has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception:  # bytes that are no archive can end in nearly any
        return "its list of contents" if zipfile.is_zipfile(path) else None


def save(state: dict, path: Path | str) -> None:
    """Write a checkpoint so that ``path`` holds the old file or the whole new one, whatever happens in between.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old file, if any, is as it was.
        ValueError: ``state`` holds an object that `load` would refuse; found now and not when it is needed.
    """
    path = Path(path)
    handled = sys.exc_info()[1]  # what the caller is dealing with, if anything: no cause of a failure in here
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, sync=True) as part:
            with part.open("wb") as file:
                torch.save(state, file)
            try:
                load(part, mmap=True)  # cheap: the tensors are not read
            except UserError as error:
                raise ValueError(f"the state for {path} holds what cannot be loaded again: {error}") from error
    except BaseException as error:
        cause = _os_error_behind(error, handled)
        if cause is not None:
            raise UserError(f"{path}: the checkpoint could not be written ({cause.strerror or cause}); free some space "
                            "or choose another folder. What was there before is unchanged") from error
        raise


def config_of(pkg: dict) -> dict:
    """'xp.cfg' of a checkpoint as plain dicts, lists and values.

    References within the config (``${a.b}``) are followed. What cannot be resolved here stays as text, and so does
    what asks for an environment variable: the values of this machine are no part of the run.

    Args:
        pkg: what `load` returned; pkg['xp.cfg'] is a DictConfig, a dict or a YAML string.

    Raises:
        UserError: there is no 'xp.cfg', or it is no mapping.
    """
    if "xp.cfg" not in pkg:
        raise UserError("expected a checkpoint with 'xp.cfg', the configuration of its run; it has "
                        f"{', '.join(sorted(map(str, pkg))) or 'nothing'}")
    try:
        source = pkg["xp.cfg"]
        # OmegaConf's own YAML reader, not yaml.safe_load: the latter takes 1e-4 for a string
        config = OmegaConf.create(source) if isinstance(source, (str, dict)) else source
        if not isinstance(config, DictConfig):
            raise UserError(f"expected a mapping in the checkpoint's 'xp.cfg', found a {type(config).__name__}")
        return _resolved(config, OmegaConf.to_container(config, resolve=False))
    except (yaml.YAMLError, omegaconf.errors.OmegaConfBaseException, RecursionError) as error:
        raise UserError(f"the checkpoint's 'xp.cfg' cannot be read: {type(error).__name__}: {error}") from error


def _resolved(node: DictConfig | ListConfig, raw: dict | list) -> typing.Any:
    """``raw``, the unresolved content of ``node``, with its references replaced."""
    if isinstance(raw, dict):
        return {key: _resolved_item(node, key, value) for key, value in raw.items()}
    return [_resolved_item(node, index, value) for index, value in enumerate(raw)]


def _resolved_item(parent: DictConfig | ListConfig, key: typing.Any, raw: typing.Any) -> typing.Any:
    if isinstance(raw, (dict, list)):
        return _resolved(parent[key], raw)
    if not isinstance(raw, str) or "${" not in raw or "oc.env" in raw:
        return raw
    try:
        value = parent[key]
    except omegaconf.errors.OmegaConfBaseException:
        return raw
    if isinstance(value, (DictConfig, ListConfig)):  # a reference to a whole section
        return _resolved(value, OmegaConf.to_container(value, resolve=False))
    return value


def _refused_classes(path: Path) -> list[str]:
    """Names of the classes in a checkpoint that `load` does not let through; empty where the file cannot tell."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # no zip file, no pickle in it, ...: load's own error says more
        return []


def _classes_named_by(error: Exception) -> list[str]:
    """The class that torch's own refusal names: for the format of before torch 1.6, which cannot be listed."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    return re.findall(r"GLOBAL (\w[\w.]*\w)", str(error))[:1]


def _os_error_behind(error: BaseException | None, before: BaseException | None) -> OSError | None:
    """The OSError that ``error`` is or hides: torch's zip writer reports a full disk as a RuntimeError on top of it."""
    while error is not None and error is not before:
        if isinstance(error, OSError):
            return error
        error = error.__context__
    return None
