"""The README's plots, from results that were saved: ``python -m benchmarks.common.plots [docs/bench.json] [-o docs]``.

``bench.png`` is from ``benchmarks.sampling.cold_boot --save``, ``scaling.png`` from ``benchmarks.sampling.decode
--save``. All axes are linear and begin at 0; bars are medians, the thin lines on them go from the fastest run to the
slowest.
"""

from __future__ import annotations

import json
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import atomic
from benchmarks.common.peers import AUDIOCRAFT, TRANSFORMERS
from benchmarks.sampling.cold_boot import EMBEDDED

INK, FAINT = "#222222", "#8a8a8a"
PEER, OURS, OWN = "#9a9a9a", "#d1495b", "#2e6f95"
LABELS = {EMBEDDED: "embedded bundle\n(a smaller model)"}
PALE = (1.0, 0.6, 0.35)  # how strong the first, second and third bar of a row is


def draw(results: dict, out: Path) -> list[Path]:
    """Draw what there are results for; returns the pictures.

    Raises:
        UserError: results of none of the two.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({
        "font.size": 9, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": FAINT,
        "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "bench",
    })
    pictures = []
    for name, benchmark, picture in (("bench.png", "cold_boot", _cold), ("scaling.png", "decode", _scaling)):
        if benchmark not in results:
            continue
        record = results[benchmark]
        figure = picture(plt, record["results"])
        figure.text(0.995, 0.01, _machine(record), ha="right", va="bottom", fontsize=7, color=FAINT)
        out.mkdir(parents=True, exist_ok=True)
        with atomic(out / name) as part:
            figure.savefig(part, dpi=150, format="png", facecolor="white", metadata={"Software": None})
        plt.close(figure)
        pictures.append(out / name)
    if not pictures:
        raise UserError("expected results of cold_boot or decode, saved with --save, and found "
                        f"{', '.join(results) or 'nothing'}")
    return pictures


def _machine(record: dict) -> str:
    machine = record["machine"]
    facts = [f"{machine['threads']} threads of {machine['processor']}"]
    facts += [f"{name} {machine[name]}" for name in ("torch", "audiocraft", "transformers", "onnxruntime")
              if name in machine]
    return ", ".join([*facts, record.get("date", "")]).rstrip(", ")


def _colour(name: str) -> str:
    return {AUDIOCRAFT: PEER, TRANSFORMERS: PEER, EMBEDDED: OWN}.get(name, OURS)


def _bars(axis, names: list[str], series: list[tuple[str, dict[str, tuple[float, float, float]]]], unit: str,
          title: str, digits: int) -> None:
    """Rows of ``names``, in each a bar for each of ``series``: a word for it and ``{name: (value, least, most)}``."""
    height = 0.8 / len(series)
    longest = max((value for _, values in series for value, _, _ in values.values()), default=1.0)
    named = set()
    for i, name in enumerate(names):
        for j, (word, values) in enumerate(series):
            if name not in values:
                continue
            value, least, most = values[name]
            y = i - 0.4 + (j + 0.5) * height
            axis.barh(y, value, height * 0.86, color=_colour(name), alpha=PALE[j], linewidth=0)
            axis.plot([least, most], [y, y], color=INK, linewidth=0.8)
            text = f"{value:.{digits if value < 10 else 0}f} {unit}"
            if word and word not in named:  # the first bar of its kind says what it is, in place of a legend
                text, _ = f"{text}  {word}", named.add(word)
            axis.text(max(value, most) + 0.015 * longest, y, text, va="center", ha="left", fontsize=7.5)
    axis.set_xlim(0, longest * 1.36)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _cold(plt, r: dict):
    def of(key: str, clips: str) -> dict:
        return {name: tuple(by_clips[clips][key][k] for k in ("median", "min", "max"))
                for name, by_clips in r["runs"].items() if clips in by_clips}

    names = list(r["runs"])
    counts = sorted({n for by_clips in r["runs"].values() for n in by_clips}, key=int)[:2]
    words = {n: f"{n} clip{'s' * (n != '1')}" for n in counts}
    figure, axes = plt.subplots(1, 3, figsize=(12, 0.72 * len(names) + 1.1), sharey=True, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96), wspace=0.02)
    seconds = f"{r['seconds']:g}"
    _bars(axes[0], names, [(words[n], of("wall_s", n)) for n in counts], "s",
          f"Cold start to clips of {seconds} s on disk", 1)
    disk = {name: (size, size, size) for name, size in r["sizes_mb"].items() if name in names}
    _bars(axes[1], names, [("files", disk)] + [(f"memory, {words[n]}", of("memory_mb", n)) for n in counts], "MB",
          "Files it reads, and peak memory", 0)
    first = {name: (s["median"], s["min"], s["max"]) for name, s in r["first_sound_s"].items()}
    whole = {name: v for name, v in of("wall_s", counts[0]).items() if name in (AUDIOCRAFT, TRANSFORMERS)}
    _bars(axes[2], names, [("when the clip is whole", whole | first)], "s", "Cold start to the first second of sound",
          2)
    axes[0].set_yticks(range(len(names)), [LABELS.get(name, name) for name in names])
    return figure


def _scaling(plt, r: dict):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.6), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.05, 1, 0.95), wspace=0.06)
    real_time = 1000 / 50
    for key, colour, word, below in (("whole", PEER, "the whole clip", False),
                                     ("window", OURS, f"windows of {r['window_s']:g} s, as infer.py plays", True)):
        x, y = zip(*((at, 1e3 * s) for at, s in r["along_s"][key]))
        left.plot(x, y, color=colour, linewidth=1.5)
        if below:
            left.annotate(word, (x[-1], min(y[len(y) // 2 :])), xytext=(0, -14), textcoords="offset points",
                          color=colour, ha="right")
        else:
            place = 3 * len(x) // 5
            left.annotate(word, (x[place], y[place]), xytext=(-6, 8), textcoords="offset points", color=colour,
                          ha="right")
    left.set_xlabel("second of the clip")
    left.set_title("A step of one clip, ms, int8", loc="left", fontsize=10, fontweight="bold")
    x, y = zip(*((int(n), 1e3 * s) for n, s in r["batch_s"].items()))
    right.plot(x, y, color=OURS, linewidth=1.5, marker="o", markersize=4)
    for n, ms in zip(x, y):
        if n in (x[0], 10, 32, x[-1]):
            place = {"xytext": (8, -9), "ha": "left"} if n < 0.7 * x[-1] else {"xytext": (-8, 0), "ha": "right"}
            right.annotate(f"{ms:.1f} ms, {ms / n:.1f} a clip", (n, ms), textcoords="offset points", fontsize=7.5,
                           **place)
    right.set_xlabel("clips in the batch")
    right.set_title("A step of the whole batch, ms, int8", loc="left", fontsize=10, fontweight="bold")
    for axis in (left, right):
        axis.set_ylim(0, max(real_time, *axis.dataLim.get_points()[:, 1]) * 1.15)
        axis.set_xlim(0, None)
        axis.axhline(real_time, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        axis.text(0.01 * axis.get_xlim()[1], real_time, "real time: 20 ms", va="bottom", color=FAINT, fontsize=7.5)
    return figure


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.common.plots", description=__doc__.split("\n\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path("docs/bench.json"),
                        help="what the benchmarks wrote with --save (default %(default)s)")
    parser.add_argument("-o", type=Path, default=Path("docs"), metavar="FOLDER", help="default %(default)s")
    args = parser.parse_args(argv)
    if not args.results.is_file():
        raise UserError(f"no such file: {args.results}; 'python -m benchmarks.sampling.cold_boot --save "
                        f"{args.results}' writes it")
    try:
        results = json.loads(args.results.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{args.results}: not JSON ({error}); run the benchmarks again") from None
    for path in draw(results, args.o):
        print(path)


if __name__ == "__main__":
    run_cli(main)
