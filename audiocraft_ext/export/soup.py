"""Models mixed weight by weight: ``python -m audiocraft_ext.soup A B OUT --weight 0.3``.

A and B are whatever :mod:`~audiocraft_ext.export.sources` reads: bundles, checkpoints, runs, audiocraft exports. OUT
becomes a bundle with 0.7 of A's weights and 0.3 of B's. ``--weights 0.5,0.3,0.2`` mixes as many as there are.

After model soups (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482), who average models fine-tuned from one: what
started from different random weights has its neurons in another order, and the average of such two is mostly noise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.export import bundle, sources
from audiocraft_ext.export.sources import Trained

WAYS = ("lerp", "slerp")
UNRELATED = 0.5  # cosine; see docs/WEIRD.md
State = dict[str, torch.Tensor]


def mix(models: Sequence[Trained], names: Sequence[str], weights: Sequence[float], way: str = "lerp",
        extrapolate: bool = False) -> Trained:
    """A model whose weights lie between those of others.

    Args:
        models: two or more of one size, with one pattern of delays and one codec.
        names: what to call them, in the record and in errors.
        weights: one per model, each from 0 to 1, 1 in all. All the weight on one model gives it to the last bit.
        way: ``lerp`` is the weighted mean; ``slerp``, of two, goes along the arc between each two tensors, so that the
            length of a tensor does not shrink where two point in different directions.
        extrapolate: allow weights below 0 and above 1: away from a model, beyond another.

    Raises:
        UserError: models that do not fit together, or weights that do not add up.
    """
    check_weights(weights, len(models), way, extrapolate)
    for model, name in zip(models[1:], names[1:]):
        check_fit(models[0], names[0], model, name)
    states = [model.state for model in models]
    one = [i for i, w in enumerate(weights) if w == 1]
    if one and all(w == 0 for i, w in enumerate(weights) if i not in one):
        state = {key: value.clone() for key, value in states[one[0]].items()}
    elif way == "slerp":
        state = {key: slerp(a, states[1][key], weights[1]) for key, a in states[0].items()}
    else:
        state = {key: lerp([s[key] for s in states], weights) for key in states[0]}
    parts = [{"model": name, "weight": w, "run": model.run, "licence": model.licence}
             for model, name, w in zip(models, names, weights)]
    first = models[0]
    run = {"soup": parts, "way": way}
    segments = [float(m.run["segment_duration"]) for m in models if "segment_duration" in m.run]
    if segments:
        run["segment_duration"] = min(segments)
    card = f"A mixture ({way}) of " + ", ".join(f"{w:g} of {name}" for name, w in zip(names, weights)) + "."
    return replace(first, state=state, context=min(m.context for m in models), run=run, licence=joined_licence(models),
                   card=card)


def lerp(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """The weighted sum, in float64 and rounded once; the mean of equals is what they are."""
    total = sum(w * t.double() for t, w in zip(tensors, weights) if w)
    return total.float()


def slerp(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """From ``a`` (t = 0) to ``b`` (t = 1) along the arc between them (Shoemake 1985,
    https://doi.org/10.1145/325334.325242), here for vectors of any two lengths: their own length is not changed first.

    Where there is no arc (a zero, the same or the opposite direction) it is the straight line.
    """
    x, y = a.double().flatten(), b.double().flatten()
    length = x.norm() * y.norm()
    cosine = float(x @ y / length) if length > 0 else 1.0
    if abs(cosine) > 1 - 1e-9:
        return lerp([a, b], [1 - t, t])
    angle = math.acos(cosine)
    return lerp([a, b], [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)])


def check_weights(weights: Sequence[float], count: int, way: str = "lerp", extrapolate: bool = False) -> None:
    """Raise a :class:`UserError` unless the weights are those of a mixture of ``count`` models."""
    if count < 2:
        raise UserError(f"expected two models or more to mix, got {count}")
    if way not in WAYS:
        raise UserError(f"expected a way of {' or '.join(WAYS)}, got {way}")
    if way == "slerp" and count != 2:
        raise UserError(f"slerp is between two models, got {count}; use --way lerp")
    if len(weights) != count:
        raise UserError(f"expected {count} weights, one per model, got {len(weights)}")
    if not all(map(math.isfinite, weights)) or abs(sum(weights) - 1) > 1e-6:
        raise UserError(f"the weights {', '.join(f'{w:g}' for w in weights)} must add up to 1, "
                        f"and are {sum(weights):g} together")
    if not extrapolate and not all(0 <= w <= 1 for w in weights):
        raise UserError(f"weights lie from 0 to 1, got {', '.join(f'{w:g}' for w in weights)}; --extrapolate allows it")


def check_fit(a: Trained, name_a: str, b: Trained, name_b: str) -> None:
    """Raise a :class:`UserError` that names what keeps two models from being mixed."""
    size_a, size_b = ({k: v for k, v in asdict(m.cfg).items() if k not in bundle.TRAINING} for m in (a, b))
    other = [f"{k}={size_a[k]} and {size_b[k]}" for k in size_a if size_a[k] != size_b[k]]
    if other:
        raise UserError(f"{name_a} and {name_b} are models of different sizes: {', '.join(other)}; "
                        "only equal ones can be mixed")
    a.spec.check_same_stream(b.spec, name_a, name_b)
    if a.spec.delays != b.spec.delays:
        raise UserError(f"{name_a} has the delays {list(a.spec.delays)}, {name_b} has {list(b.spec.delays)}: they were "
                        "trained to speak in a different order")


def joined_licence(models: Sequence[Trained]) -> str:
    """All their licences, each once: a mixture is under every one of them."""
    return " AND ".join(dict.fromkeys(m.licence for m in models))


def likeness(a: State, b: State) -> float:
    """The cosine between two models' matrices: 1 is the same, near 0 means they have nothing to do with each other.

    Norms and biases are left out, they are alike in any two models.
    """
    pairs = [(x.double().flatten(), b[key].double().flatten()) for key, x in a.items() if x.ndim > 1]
    across = sum(float(x @ y) for x, y in pairs)
    lengths = math.sqrt(sum(float(x @ x) for x, _ in pairs) * sum(float(y @ y) for _, y in pairs))
    return across / lengths if lengths else 1.0


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m audiocraft_ext.soup", description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL",
                        help="two or more: bundles, checkpoints, runs or their signatures, audiocraft exports")
    parser.add_argument("out", type=Path, help="folder to write, a bundle")
    parser.add_argument("--weight", type=float, help="of two models, the share of the second (default 0.5)")
    parser.add_argument("--weights", help="the share of each, as in 0.5,0.3,0.2 (default: all the same)")
    parser.add_argument("--way", choices=WAYS, default="lerp", help="a straight line, or (of two) an arc")
    parser.add_argument("--extrapolate", action="store_true", help="allow weights below 0 and above 1")
    parser.add_argument("--half", action="store_true", help="store the weights as fp16: half the size")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is an earlier export")
    parser.add_argument("--codec", help="name or folder of the codec, where the models' own name for it does not lead")
    args = parser.parse_args(argv)
    weights = chosen_weights(args.weight, args.weights, len(args.models))
    check_weights(weights, len(args.models), args.way, args.extrapolate)
    bundle.check_out(Path(os.path.abspath(args.out)), args.force)  # before large files are read
    models = []
    for source in args.models:
        print(f"reading {source} ...", flush=True)
        models.append(sources.read(source, args.codec))
    soup = mix(models, [short_name(source) for source in args.models], weights, args.way, args.extrapolate)
    alike = min(likeness(models[0].state, m.state) for m in models[1:])
    licence = kinds.kind_of(soup.spec).codec_licence(soup.codec, (args.codec, args.models[0]))
    bundle.write_bundle(args.out, soup, args.half, args.force, licence)
    print(f"{args.out}: {soup.card} Cosine of their weights {alike:.2f}. Licence: {soup.licence}")
    if alike < UNRELATED:
        print("note: these have little to do with each other (one run, or fine-tunes of one, have a cosine near 1); "
              "what lies between them is mostly noise")


def chosen_weights(weight: float | None, weights: str | None, count: int) -> list[float]:
    """The weights that the options stand for."""
    if weight is not None and weights is not None:
        raise UserError("give --weight (the share of the second of two models) or --weights (one per model), not both")
    if weight is not None:
        if count != 2:
            raise UserError(f"--weight is the share of the second of two models, got {count} models; use --weights")
        return [1 - weight, weight]
    if weights is None:
        return [1 / count] * count
    try:
        return [float(w) for w in weights.split(",")]
    except ValueError:
        raise UserError(f"--weights are numbers with commas between them, as in 0.5,0.3,0.2, got {weights!r}") from None


def short_name(source: str) -> str:
    """A name without the folders of the machine it was made on."""
    path = Path(os.path.abspath(source))
    return path.parent.name if path.name == "checkpoint.th" else path.name


if __name__ == "__main__":
    run_cli(main)
