"""What a run is: its resolved settings and its data, kept in the checkpoint and compared when it goes on.

Dora names a run by the *difference* of its settings from the defaults, so a default that was edited since would go
on under new numbers without a word. Here the whole resolved config counts, less what cannot change the result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from fnmatch import fnmatch

from audiocraft_ext.core.errors import UserError

# Beyond what dora.exclude in configs/config.yaml lists. These name a run all the same: whose weights it began with,
# where its data lies (here the content counts), its label. What autocast is depends on the device, which may change.
NO_EFFECT = ("dora.*", "slurm.*", "continue_from", "datasource.*", "label", "autocast")


def flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    """``{"a": {"b": 1}}`` to ``{"a.b": 1}``; lists are values, and what is empty says nothing."""
    out: dict[str, object] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            out.update(flatten(value, f"{name}."))
        else:
            out[name] = value
    return out


def identity(config: dict, exclude: list[str], store_hash: str, spec: dict) -> dict:
    """The record that goes into a checkpoint: plain values only."""
    flat = {k: v for k, v in flatten(config).items() if not _ignored(k, exclude)}
    digest = hashlib.sha256(json.dumps(flat, sort_keys=True, default=str).encode()).hexdigest()
    return {"config": flat, "config_hash": digest, "store_hash": store_hash, "spec": spec}


def _ignored(key: str, exclude: Sequence[str]) -> bool:
    return any(fnmatch(key, pattern) for pattern in (*exclude, *NO_EFFECT))


def check_same_run(then: dict, now: dict, checkpoint: str, exclude: Sequence[str] = ()) -> None:
    """Refuse to go on under other settings or with other data.

    Raises:
        UserError: names every key that differs, then and now.
    """
    advice = "put it back, or start a new run with label=NAME"
    if then["store_hash"] != now["store_hash"]:
        raise UserError(f"{checkpoint} was trained on another token store (store_hash {then['store_hash'][:12]}, "
                        f"now {now['store_hash'][:12]}); {advice}")
    if then["config_hash"] != now["config_hash"]:
        old, new = then["config"], now["config"]
        # What is empty says nothing: a setting that came later and is not used makes no other run.
        keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k) and not _ignored(k, exclude))
        if not keys:
            return
        changes = "; ".join(f"{k} was {old.get(k, '(unset)')}, is {new.get(k, '(unset)')}" for k in keys)
        raise UserError(f"{checkpoint} was made with other settings: {changes}; {advice}")
