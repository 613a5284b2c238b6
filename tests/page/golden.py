"""Golden codes of the sampling loop, which the page's JavaScript twin has to give too: ``python -m tests.page.golden``
writes ``golden.json``. The model is a stand-in whose logits are whole numbers over 2**13, the same in any language."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from audiocraft_ext.core.packing import pack
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine import sampler
from audiocraft_ext.engine.guidance import Guide
from audiocraft_ext.engine.order import Order
from audiocraft_ext.engine.sampling import Sampling, clip_rng

PATH = Path(__file__).with_name("golden.json")
AUDIO = {"kind": "audio", "n_q": 4, "card": 256, "frame_rate": 50.0, "delays": [0, 1, 2, 3],
         "codec": {"name": "stand-in", "hash": "0"}}
SMALL = AUDIO | {"card": 40}
METRONOME = AUDIO | {"n_q": 5, "delays": [0, 1, 2, 3, 0], "sizes": [256] * 4 + [1], "controls": 1}
DRUMS = {"kind": "drums", "n_q": 6, "card": 52, "frame_rate": 8.0, "delays": [0] * 6,
         "codec": {"name": "stand-in", "hash": "0"}, "sizes": [33] * 3 + [25] * 3,
         "gates": [[3, 0, 12], [4, 1, 12], [5, 2, 12]], "prompt": 1}
CHAIN = DRUMS | {"delays": [0, 0, 0, 1, 1, 1], "gates": [[3, 0, 12], [4, 3, 7, [1, 2, 3, 4, 5]], [5, 2, 12]]}
NOTES = {"kind": "notes", "n_q": 5, "card": 60, "delays": [0, 1, 2, 3, 4], "unit": "notes",
         "codec": {"name": "stand-in", "hash": "0"}, "sizes": [26, 41, 50, 32, 20], "prompt": 2,
         "gates": [[1, 0, 0, list(range(2, 26))], [2, 0, 0, list(range(2, 26))], [3, 0, 0, list(range(2, 26))],
                   [4, 1, 0, list(range(1, 41))]]}
SONG = {"kind": "song", "n_q": 4, "card": 60, "delays": [0, 1, 2, 3], "unit": "notes",
        "codec": {"name": "stand-in", "hash": "0"}, "sizes": [50, 49, 49, 49], "prompt": 2,
        "gates": [[1, 0, 0, list(range(2, 50))], [2, 1, 0], [3, 2, 0]]}


def cases() -> list[dict]:
    """Each with all that :func:`made` needs, JSON values."""
    rng = np.random.default_rng(3)
    prompt = rng.integers(0, 256, (4, 90)).tolist()
    frozen = [[1] * 30, [-1] * 30, [-2] * 30, [-1] * 12 + [5] * 6 + [-1] * 12]
    beat = [[40 + k] + [-2, -1, 7] * 8 for k in range(3)] + [[44] + [-1] * 24] * 3
    said = [[40], [35], [33], [33], [33], [33]]
    bar = [[51, 52, 0], [53, 50, 0], [50, 50, 0], [50, 54, 0], [50, 50, 0]]  # a prompt and a bar line
    part = [[*row, *[7 if k == 1 else -1] * 30] for k, row in enumerate(bar)]  # notes of one instrument
    base = {"indices": [0], "seed": 1, "frames": 60, "sampling": {}, "window": None, "given": None, "guide": None,
            "order": None}
    sorted_notes = {"streams": [0, 1, 2], "first": 2, "never": [1]}
    some = [
        ("plain", AUDIO, {"sampling": {"top_k": 0}}),
        ("the default", AUDIO, {"indices": [0, 7], "seed": 2**64 - 1}),
        ("each filter", AUDIO, {"sampling": {"temperature": [1.2, 1.0, 0.7, 0.0], "top_k": [250, 0, 60, 5],
                                             "top_p": 0.9, "min_p": [0.0, 0.02, 0.1, 0.0]}}),
        ("small", SMALL, {"sampling": {"temperature": 0.8, "top_p": [0.5, 1.0, 0.8, 0.99]}, "indices": [3, 2**50]}),
        ("windows", AUDIO, {"frames": 150, "window": 40}),
        ("prompt", AUDIO, {"given": prompt, "frames": 130, "window": 100}),
        ("rows and holes", SMALL, {"given": frozen, "frames": 50}),
        ("metronome guided", METRONOME, {"given": [[-1] * 60] * 4 + [[1 + i % 12 for i in range(60)]],
                                         "guide": {"weight": 2.5, "codes": [[]] * 5}}),
        ("metronome", METRONOME, {"given": [[-1] * 60] * 4 + [[1 + i % 12 for i in range(60)]]}),
        ("drums", DRUMS, {"given": said, "frames": 65, "window": 65, "sampling": {"temperature": 0.95}}),
        ("drums plain", DRUMS, {"given": said, "frames": 40}),
        ("drums greedy", DRUMS, {"given": said, "frames": 40, "sampling": {"temperature": [0, 0, 0.5, 0, 0.5, 2]}}),
        ("guided", DRUMS, {"given": said, "frames": 65, "window": 33, "indices": [0, 2**40, 2**41],
                           "guide": {"weight": 2.0, "codes": [[33], [35], [33], [33], [33], [33]]},
                           "sampling": {"temperature": 0.95, "top_k": 10, "min_p": 0.01}}),
        ("notes", NOTES, {"given": bar, "frames": 60, "window": 40, "indices": [0, 2**40],
                          "guide": {"weight": 1.5, "codes": [[50, 50], [50, 50], [50, 50], [50, 50], [50, 50]]}}),
        ("a part of notes", NOTES, {"given": part, "frames": 33, "sampling": {"min_p": 0.02}}),
        ("notes in order", NOTES, {"given": bar, "frames": 90, "window": 40, "indices": [0, 2**40],
                                   "order": sorted_notes}),
        ("a part in order, guided", NOTES, {"given": part, "frames": 33, "order": sorted_notes | {"most": 1},
                                            "guide": {"weight": 1.5, "codes": [[50, 50]] * 5}}),
        ("chords in order", NOTES, {"given": part, "frames": 33, "order": sorted_notes | {"most": 3}, "indices": [5]}),
        ("a song", SONG, {"given": [row[:2] for row in bar[:4]], "frames": 80, "window": 38,
                          "sampling": {"temperature": [0.9, 1.0, 1.1, 1.0], "top_k": 20}}),
        ("gates in a chain", CHAIN, {"given": beat, "frames": 40, "sampling": {"temperature": 1.1, "top_p": 0.95}}),
    ]
    return [{"name": name, "spec": spec} | base | more for name, spec, more in some]


class StandIn:
    """A :class:`~audiocraft_ext.engine.sampler.Stepper` whose logits depend on all codes so far."""

    def __init__(self, spec: Spec):
        self.spec = spec

    def start(self, batch: int, capacity: int) -> None:
        self.state = np.full(batch, 12345, np.uint32)

    def step(self, sequence: np.ndarray) -> np.ndarray:
        spec = self.spec
        for s in range(sequence.shape[-1]):
            for k in range(spec.n_q):
                self.state = (self.state * np.uint32(31) + sequence[:, k, s].astype(np.uint32) + np.uint32(3)) \
                    * np.uint32(2654435761)
        places = np.arange(spec.n_q * spec.card, dtype=np.uint32) * np.uint32(2246822519)
        bits = (self.state[:, None] + places) * np.uint32(3266489917)
        logits = ((bits >> 16).astype(np.float32) / 2**13).reshape(-1, spec.n_q, spec.card)
        for k in range(spec.n_q):
            logits[:, k, spec.size(k):] = -np.inf
        return logits


def made(case: dict) -> list[str]:
    """The packed codes of each clip."""
    spec, B = Spec.from_dict(case["spec"]), len(case["indices"])
    given = None if case["given"] is None else np.repeat(np.array(case["given"], np.int64)[None], B, axis=0)
    stepper = StandIn(spec)
    if case["guide"]:
        stepper = Guide(case["guide"]["weight"], np.array(case["guide"]["codes"], np.int64)).around(stepper, spec)
    if case["order"]:
        stepper = Order(**case["order"]).around(stepper, spec)
    codes = sampler.generate(stepper, spec, case["indices"], case["frames"], seed=case["seed"], given=given,
                             sampling=Sampling(**{name: tuple(v) if isinstance(v, list) else v
                                                  for name, v in case["sampling"].items()}), window=case["window"])
    return [pack(clip) for clip in codes]


def drawn(bits: np.random.BitGenerator, bounds: list[int]) -> dict:
    """What weird tools and variations draw."""
    rng = np.random.Generator(bits)
    return {"random": rng.random(3).tolist(), "integers": [rng.integers(bound, size=5).tolist() for bound in bounds],
            "permutation": rng.permutation(np.arange(37)).tolist(), "large": str(rng.integers(2**63))}


def everything() -> dict:
    """What is in the file. Seeds and indices are text: JavaScript's numbers end at 2**53."""
    numbers = [{"seed": str(seed), "index": str(index), "uniforms": clip_rng(seed, index).random(9).tolist()}
               for seed, index in ((0, 0), (1, 5), (2**64 - 1, 2**63), (123456789, 2**40))]
    draws = [{"seed": str(seed), "index": str(index), "jumps": jumps, "bounds": bounds,
              "draws": drawn(clip_rng(seed, index).bit_generator.jumped(jumps), bounds)}
             for seed, index, jumps, bounds in ((0, 0, 1, [1, 2, 3]), (2**64 - 1, 5, 3, [256, 2**31 + 11, 7]))]
    return {"uniforms": numbers, "draws": draws, "cases": [
        case | {"seed": str(case["seed"]), "indices": list(map(str, case["indices"])), "codes": made(case)}
        for case in cases()]}


if __name__ == "__main__":
    PATH.write_text(json.dumps(everything()) + "\n", "utf-8")
