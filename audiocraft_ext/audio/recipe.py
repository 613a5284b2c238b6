"""What a clip is a function of, besides its index: kept beside every clip, so that it can be made again."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiocraft_ext.core.packing import RecipeBase
from audiocraft_ext.engine.guidance import Guide
from audiocraft_ext.engine.sampling import Sampling

_TEXT, _NUMBER = (str,), (int, float, type(None))
_KINDS = {"bundle": _TEXT, "bundle_hash": _TEXT, "seed": (int,), "samples": (int,), "precision": _TEXT,
          "backend": _TEXT, "bpm": _NUMBER, "bars": _NUMBER, "loop": (bool,), "prompt": _TEXT, "source": _TEXT,
          "guidance": (float,), "weird": _TEXT, "clips": (dict,), "models": (dict,)}


@dataclass(frozen=True)
class Recipe(RecipeBase):
    """Everything but the clip's index. What came from a file is in here as codes, not as the file's name.

    Attributes:
        bundle, bundle_hash: the instrument's name, and which one of that name (:attr:`Bundle.hash`, 16 digits).
        seed: with the index it decides all random numbers.
        samples: length at the bundle's own rate; of a source with a chain that changes its length, before the chain.
        precision, backend: of the LM; another one makes other clips.
        bpm, bars: None where nobody said.
        guidance: how closely the metronome is followed; 1 is the model by itself.
        loop: the end leads into the start.
        prompt: packed codes that the clip begins with.
        source: packed codes that are played on instead of sampled ones.
        weird: a chain of tools (:mod:`audiocraft_ext.audio.weird.chain`), and what it names: packed codes of other
            clips, hashes
            of other bundles.
    """

    bundle: str
    bundle_hash: str
    seed: int
    samples: int
    sampling: Sampling
    precision: str = "fp32"
    backend: str = "onnx"
    bpm: float | None = None
    bars: float | None = None
    guidance: float = 1.0
    loop: bool = False
    prompt: str = ""
    source: str = ""
    weird: str = ""
    clips: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    @property
    def guide(self) -> Guide | None:
        """What keeps its clips in time; None: nothing does."""
        return None if self.guidance == 1 else Guide(self.guidance)

    OF = "clip"
    PARTS = {"sampling": Sampling.from_dict}
    GOOD = {name: lambda value, kind=kind: type(value) in kind for name, kind in _KINDS.items()}
