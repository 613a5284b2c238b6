"""A folder of sound to a token store: ``python -m data_prep.audio breaks stores/breaks --codec microcodec``.

Every file is analysed once (data_prep/audio/analysis/analyse.py), then the plan is made (data_prep/audio/plan.py), then
what is kept is encoded. Interrupted, the same command goes on; run again, it takes in what is new. At the end
STORE/report.html shows what a model will learn from.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from audiocraft_ext.audio.codec import DEFAULT
from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.store.reader import PREPARING, RECORD, load_record
from data_prep.audio.options import SHARDS, parse, settings_of


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    args.codec = args.codec or usual_codec(args.store)
    from data_prep.audio import chain, outputs
    from data_prep.audio.encoder import runtime_for
    from data_prep.jobs import executors
    from data_prep.shared import labels
    from data_prep.shared.resume import command_line

    settings = settings_of(args, runtime_for(args.device))
    options = executors.slurm_options(args.slurm)
    refused: dict[str, str] = {}
    found = chain.find(args.src, refused)
    rows = labels.table_of(args.csv, found)
    command = command_line("data_prep.audio", argv)
    codec = open_codec(args)
    if args.lock_tempo:
        settings = dataclasses.replace(settings, lock_tempo=codec.spec.frame_rate)
    workers = physical_cores() if args.workers is None else args.workers
    limits = chain.Limits(workers, args.timeout, memory=round(args.memory * 2**30))
    where = {"executor": args.executor, "options": options} if args.executor != "here" else None
    if where:
        limits = dataclasses.replace(limits, workers=args.workers or options.get("cpus", 1))
    work = chain.Work(args.src, args.store, found, codec, settings, limits, (args.device, args.codec, args.codec_path),
                      rows, command, args.retry, args.shards or SHARDS, where)
    plan, added = chain.prepare(work, args.dry_run)
    plan.refused |= refused
    outputs.write(work, plan, added, args.dry_run, args.slices)


def usual_codec(store: Path) -> str:
    """The codec of a store, or of one that is not there yet."""
    for name in (RECORD, PREPARING):
        if (store / name).is_file():
            return load_record(store / name)["spec"]["codec"]["name"]
    return DEFAULT


def open_codec(args: argparse.Namespace):
    """The codec that was asked for; torch comes with it.

    Raises:
        UserError: there is none of that name, it cannot have so few codebooks, or no such device.
    """
    import torch

    from audiocraft_ext.audio.codec import get_codec

    codec = get_codec(args.codec, args.codec_path)
    if args.codebooks is not None:
        codec = codec.first(args.codebooks)
    try:
        torch.zeros(1, device=args.device)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise UserError(f"--device {args.device}: {str(error).splitlines()[0]}") from None
    return codec


if __name__ == "__main__":
    run_cli(main)
