"""From trained weights to an instrument: ``python -m audiocraft_ext.export CHECKPOINT_OR_RUN OUT``.

The source is a checkpoint, a run's folder or signature, a folder in audiocraft's export format, or a bundle.
OUT becomes a bundle, or with ``--format audiocraft`` a folder that ``MusicGen.get_pretrained(OUT)`` loads.
It is written beside its place and renamed: OUT is whole, or it is not there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import sha256
from audiocraft_ext.engine.bundle import FORMAT, VERSION
from audiocraft_ext.engine.cli import add_sampling, chosen
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export import audiocraft, sources
from audiocraft_ext.export.quantize import BLOCK, PRECISIONS
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.weights import stored, write_safetensors

QUANTISED_FROM = 8_000_000  # weights of a step; fewer stay in the cache, and quantising rows costs more than it gains
TRAINING = ("dropout", "checkpointing")  # of LMConfig, no part of what is exported


def write_bundle(out: Path, model: Trained, half: bool = False, force: bool = False,
                 codec_licence: str = sources.UNKNOWN_LICENCE, precisions: Sequence[str] = (),
                 quarter: bool = False) -> None:
    """Write ``model`` as a bundle.

    Args:
        out: the folder; must be new or empty, or with ``force`` a bundle to replace.
        half: store the weights as fp16, half the size; they are computed with in fp32 all the same.
        codec_licence: that of the codec's weights, where the codec is not one whose licence is known.
        precisions: those besides fp32 that the LM can be sampled in, the default first. By default int8 and int4
            where the LM is large enough to gain by it.
        quarter: store the LM's matrices as int8, a quarter of the size; they are computed with in fp32 all the same.
            A codec's weights are stored as fp16 then.
    """
    if not precisions and model.cfg.weights_per_step() >= QUANTISED_FROM:
        uneven = any(p.columns % BLOCK for p in model.cfg.block.products if not p.exact)
        precisions = ["int8"] if uneven else ["int8", "int4"]
    write_whole(out, force, lambda folder: _fill_bundle(folder, model, half, codec_licence, precisions, quarter))


def _fill_bundle(folder: Path, model: Trained, half: bool, codec_licence: str, precisions: Sequence[str],
                 quarter: bool) -> None:
    from audiocraft_ext.export import quantize
    from audiocraft_ext.export.onnx_lm import write_lm

    weights = quantize.in_bytes(model.state, model.cfg) if quarter else stored(model.state, half)
    write_safetensors(weights, folder / "lm.safetensors", {"format": "pt"})
    write_lm(model.cfg, folder / "lm.safetensors", folder / "lm.onnx", model.spec.sizes)
    for precision in precisions:
        if precision != "fp32":
            quantised = folder / f"lm.{precision}.safetensors"
            quantize.write(model.state, model.cfg, precision, quantised)
            write_lm(model.cfg, quantised, folder / f"lm.{precision}.onnx", model.spec.sizes)
    codec = kinds.kind_of(model.spec).bundle_parts(folder, model, half or quarter, codec_licence)
    for path in folder.glob("*.safetensors"):  # written for the owner alone; a bundle is to be passed on
        path.chmod((folder / "lm.onnx").stat().st_mode & 0o777)
    info = {
        "format": FORMAT, "version": VERSION, "spec": model.spec.to_dict(),
        "lm": {k: v for k, v in model.cfg.to_dict().items() if k not in TRAINING},
        "codec": codec, "sampling": model.sampling, "precision": next(iter(precisions), "fp32"),
        "context": model.context, "run": model.run,
        "licence": model.licence, "card": model.card,
        "files": {p.name: {"sha256": sha256(p), "bytes": p.stat().st_size} for p in sorted(folder.iterdir())},
    }
    (folder / "model.json").write_text(json.dumps(info, indent=1, default=str) + "\n", "utf-8")


def write_whole(out: Path, force: bool, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a folder beside ``out`` and rename it: ``out`` is whole or as it was.

    Args:
        force: replace what is there, if it is an earlier export.

    Raises:
        UserError: something else is there, or it cannot be written.
    """
    out = Path(os.path.abspath(out))
    check_out(out, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    part, old = (out.with_name(f".{out.name}.{suffix}") for suffix in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)  # left by a kill
    part.mkdir()
    try:
        fill(part)
        for path in part.iterdir():
            with path.open("rb") as f:
                os.fsync(f.fileno())
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:
        if old.exists() and not out.exists():
            old.rename(out)
        if isinstance(error, OSError):
            raise UserError(f"{out}: could not be written ({error}); free some space or choose another folder"
                            ) from None
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_out(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = {"model.json"}, {audiocraft.LM_FILE, audiocraft.CODEC_FILE}
    names = {p.name for p in out.iterdir()} if out.is_dir() else set()
    if not any(wanted <= names for wanted in ours) or any((out / n).is_dir() for n in names):
        raise UserError(f"{out}: is there and holds something else; choose another folder")
    if not force:
        raise UserError(f"{out}: is there; choose another folder, or replace it with --force")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m audiocraft_ext.export", description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="a checkpoint, a run's folder or signature, audiocraft's export, or a bundle")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--format", choices=("bundle", *kinds.FORMATS), default="bundle")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--half", action="store_true", help="store the weights as fp16: half the size")
    size.add_argument("--quarter", action="store_true", help="store the LM's matrices as int8, what else there is as "
                      "with --half: a quarter of the size; computed with in fp32 all the same")
    parser.add_argument("--precisions", help="of the LM's products, the default first: fp32, int8, int4 (by default "
                        "int8,int4 for a large model, fp32 for a small one); fp32 is always there")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is an earlier export")
    parser.add_argument("--codec", help="name or folder of the codec, where the model's own name for it does not lead")
    parser.add_argument("--licence", help="licence of the weights, kept in the bundle")
    parser.add_argument("--codec-licence", help="licence of the codec's weights (known of encodec_32khz)")
    parser.add_argument("--card", help="a sentence or two on what it is, kept in the bundle")
    add_sampling(parser.add_argument_group("sampling, unless told otherwise").add_argument, "stream")
    args = parser.parse_args(argv)
    precisions = [p.strip() for p in (args.precisions or "").split(",") if p.strip()]
    if not set(precisions) <= set(PRECISIONS):
        raise UserError(f"--precisions are some of {', '.join(PRECISIONS)}, got {args.precisions}")
    if args.quarter and args.format != "bundle":
        raise UserError(f"--quarter is for bundles; {args.format}'s format takes --half")
    check_out(Path(os.path.abspath(args.out)), args.force)  # before a large file is read
    start = time.perf_counter()
    print(f"reading {args.source} ...", flush=True)
    model = sources.read(args.source, args.codec)
    model.licence = args.licence or model.licence
    model.card = args.card or model.card
    if settings := chosen(args, ("temperature", "top_k", "top_p", "min_p")):
        sampling = replace(Sampling.from_dict(model.sampling), **settings)
        sampling.check(model.spec.clip.n_q)
        model.sampling = sampling.to_dict()
    print(f"writing {args.out} ...", flush=True)
    kind = kinds.kind_of(model.spec)
    if args.format == "bundle":
        write_bundle(args.out, model, args.half, args.force,
                     args.codec_licence or kind.codec_licence(model.codec, (args.codec, args.source)), precisions,
                     args.quarter)
    else:
        kinds.format_of(args.format).write(args.out, model, args.half, args.force)
    size = sum(p.stat().st_size for p in args.out.iterdir())
    print(f"{args.out}: {args.format}, {model.cfg.parameter_count() / 1e6:.1f} M parameters, {size / 1e6:.1f} MB, "
          f"codec {model.spec.codec}, in {time.perf_counter() - start:.1f} s")
    if note := kind.export_note(model):
        print(note)


if __name__ == "__main__":
    run_cli(main)
