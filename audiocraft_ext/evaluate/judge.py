"""All figures of a set of clips, beside those of real sound that was held out and of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from audiocraft_ext.evaluate import REFERENCE, copies, pulse
from audiocraft_ext.evaluate.copies import Library, Place
from audiocraft_ext.evaluate.embed import MODELS, embed
from audiocraft_ext.evaluate.kad import Kernel
from audiocraft_ext.evaluate.sounds import Clip, Sound, cut, noise

MADE, HELD_OUT, NOISE = "made", "held-out", "noise"
ENOUGH = 50  # windows of held-out sound, for a limit of what is a copy


@dataclass
class Judged:
    """A set of clips and what was found.

    Attributes:
        rows: of each clip, see :func:`audiocraft_ext.evaluate.pulse.describe`.
        places: where its windows are most like the reference.
        figures: ``clips``; ``kad_msd``, ``kad_mtt`` and their ``_error``; the medians and shares of
            :func:`audiocraft_ext.evaluate.pulse.summary`; ``windows``, those searched for; ``copied``, the share of
            them above the limit.
    """

    clips: list[Clip]
    rows: list[dict[str, float]]
    places: list[Place]
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class Result:
    """Attributes:
        sets: by name.
        limit: the score above which a window is a copy; of ``limit_windows`` of held-out sound.
        versions: names of held-out sounds that were left out of it, for they are versions of the reference's.
        reference: the number of clips compared with.
    """

    sets: dict[str, Judged]
    limit: float
    limit_windows: int
    versions: list[str]
    reference: int


def judge(made: Sequence[Sound], real: Sequence[Sound], held_out: Sequence[Sound], known: bool, most: int,
          say: Callable[[str], object] = lambda text: None) -> Result:
    """Compare ``made`` with ``real``.

    Args:
        known: a model may have learnt from ``held_out`` too, so copies are looked for in both.
        most: clips of a set; of more, so many are drawn.
        say: takes a line when a part begins.

    Raises:
        UserError: too little real sound.
    """
    clips = cut(real, REFERENCE)
    say(f"listening to {len(clips)} clips of the reference")
    kernels = {model: Kernel(embed(clips, model)) for model in MODELS}
    library = Library(real)
    both = (library, Library(held_out)) if known else (library,)
    sets = {}
    for name, sounds, where in ((MADE, made, both), (HELD_OUT, held_out, (library,)), (NOISE, noise(), (library,))):
        chosen = cut(sounds, most)
        say(f"listening to {len(chosen)} clips, {name}")
        sets[name] = _judged(chosen, kernels, where)
    held = sets[HELD_OUT]
    versions = copies.versions(held.places, held.clips)
    other = [place for place in held.places if held.clips[place.clip].name not in versions]
    limit = copies.limit(other)
    for judged in sets.values():
        judged.figures |= {"windows": len(judged.places), "copied": copies.share(judged.places, limit)}
    return Result(sets, limit, len(other), versions, len(clips))


def _judged(clips: list[Clip], kernels: dict[str, Kernel], libraries: Sequence[Library]) -> Judged:
    rows, figures = [pulse.describe(clip) for clip in clips], {"clips": len(clips)}
    for model, kernel in kernels.items():
        figures[f"kad_{model}"], figures[f"kad_{model}_error"] = kernel.kad(embed(clips, model))
    return Judged(clips, rows, copies.search(clips, *libraries), figures | pulse.summary(rows))
