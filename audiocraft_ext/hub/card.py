"""The model card, README.md of a repository, written from a bundle's ``model.json``.

Its head is the Hub's metadata, YAML of words and quoted strings (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.hub.files import SAMPLE
from audiocraft_ext.hub.service import Address, endpoint

MARK = "<!-- written by audiocraft_ext.hub from model.json; a README.md of your own in the bundle takes its place -->"
# Names that the Hub knows (https://huggingface.co/docs/hub/repositories-licenses), of those that a model may have.
LICENCES = frozenset("""
    apache-2.0 mit isc zlib unlicense wtfpl bsd bsd-2-clause bsd-3-clause mpl-2.0 gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 openrail cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0""".split())
NOTICE = "LICENCES.md"
UNKNOWN = "not stated"


def write(bundle: Bundle, address: Address, files: Sequence[str]) -> str:
    """The card of ``bundle`` as it lies at ``address`` with these ``files``."""
    samples = [name for name in files if name.startswith(SAMPLE)]
    parts = [_metadata(bundle, address, files), MARK, f"# {address.name}", _plain(bundle.info.get("card")),
             *(_sound(name, address) for name in samples), _table(bundle, files), _how(address)]
    return "\n\n".join(part for part in parts if part) + "\n"


def licence_of(text: object) -> str | None:
    """The Hub's name of the licence that a text begins with, such as "CC BY 4.0; trained on ..."; None where it knows
    none."""
    name = re.split(r"[;,(:]|\bsee\b", str(text or ""), maxsplit=1)[0].strip().lower()
    name = re.sub(r"[\s_]+", "-", name.removesuffix(" licence").removesuffix(" license"))
    name = {"cc0": "cc0-1.0", "apache": "apache-2.0", "apache2": "apache-2.0"}.get(name, name)
    return name if name in LICENCES else None


def _licences(bundle: Bundle) -> list[str]:
    """What the parts say, the LM's first; each once."""
    stated = [bundle.info.get("licence"), (bundle.codec_config or {}).get("licence")]
    return list(dict.fromkeys(_plain(text) for text in stated if text and text != UNKNOWN))


def _metadata(bundle: Bundle, address: Address, files: Sequence[str]) -> str:
    lines = ["---", "library_name: micro-musicgen"]
    names = {licence_of(text) for text in _licences(bundle)}
    if len(names) == 1 and None not in names:
        lines.append(f"license: {names.pop()}")
    elif names:  # two, or one that the Hub has no name for
        short = re.sub(r"[^a-z0-9.]+", "-", " and ".join(_licences(bundle)).lower()).strip("-")[:60].strip("-")
        lines += ["license: other", f'license_name: "{short or "other"}"',
                  f'license_link: "{endpoint()}/{address.repo}/blob/main/{NOTICE if NOTICE in files else "README.md"}"']
    tags = ["micro-musicgen", "music", "music-generation", bundle.spec.kind or "audio", "onnx"]
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags if re.fullmatch(r"[\w-]+", tag)), "---"])


def _table(bundle: Bundle, files: Sequence[str]) -> str:
    spec, lm = bundle.spec, bundle.lm
    frame = f"{spec.frame_rate:g} frames a second" if spec.unit == "seconds" else f"a frame is one of its {spec.unit}"
    hertz = (bundle.codec_config or {}).get("sample_rate")
    rows = {
        "kind": f"{spec.kind}: {spec.n_q} streams of {spec.card} codes, {frame}",
        "codec": f"{spec.codec}{f', {hertz} Hz' if hertz else ''}, `{spec.codec_hash}`",
        "language model": f"{lm.parameter_count() / 1e6:.1f} M parameters: {lm.num_layers} layers, {lm.dim} wide",
        "precision": ", ".join(f"**{p}**" if p == bundle.precision else p for p in bundle.precisions),
        "trained": _trained(bundle),
        "data": _data(bundle, files),
        "licence": "; ".join(_licences(bundle)) or "not stated: ask before you use it",
        "sampling": ", ".join(f"{name} {_numbers(value)}" for name, value in bundle.sampling.to_dict().items()),
    }
    lines = [f"| {name} | {_plain(text).replace('|', chr(92) + '|')} |" for name, text in rows.items() if text]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _trained(bundle: Bundle) -> str:
    """How long, and to what loss in nats a code."""
    run = bundle.info.get("run") or {}
    last = run.get("last") or {}
    found = {name: (last.get(key) or {}).get("ce") for name, key in (("training", "train"), ("validation", "valid"))}
    losses = [f"{name} loss {ce:.3f}" for name, ce in found.items() if isinstance(ce, (int, float))]
    words = [f"{run['epochs']} epochs" if run.get("epochs") else "", f"windows of {bundle.spec.length(bundle.context)}",
             f"{', '.join(losses)} (nats a code)" if losses else ""]
    return ", ".join(word for word in words if word)


def _data(bundle: Bundle, files: Sequence[str]) -> str:
    store = str((bundle.info.get("run") or {}).get("store_hash") or "")
    words = [f"token store `{store[:16]}`" if re.fullmatch("[0-9a-f]+", store) else "",
             f"what it was made from: [{NOTICE}]({NOTICE})" if NOTICE in files else ""]
    return "; ".join(word for word in words if word) or "not stated"


def _sound(name: str, address: Address) -> str:
    """A player, or for MIDI a link."""
    if PurePosixPath(name).suffix.lower() == ".mid":
        return f"A sample: [{name}]({name})"
    return f'<audio controls src="{endpoint()}/{address.repo}/resolve/main/{name}"></audio>'


def _how(address: Address) -> str:
    return ("## Play it\n\nIn a checkout of micro-musicgen, after `make setup`:\n\n```sh\n"
            f"python -m audiocraft_ext.hub pull {address.repo}   # with @COMMIT behind it, that version for ever\n"
            f"python infer.py {address.name} -n 4 --seed 1\n```\n\n"
            "The same seed gives the same clips. No pickle: weights are safetensors, graphs ONNX.")


def _plain(text: object) -> str:
    """In one line, and nothing in it is a tag."""
    return " ".join(str(text or "").split()).replace("<", "&lt;")


def _numbers(value: object) -> str:
    return "/".join(f"{number:g}" for number in value) if isinstance(value, (list, tuple)) else f"{value:g}"
