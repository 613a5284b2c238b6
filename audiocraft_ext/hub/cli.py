"""Pass a bundle on, and get one, by the Hugging Face Hub.

    python -m audiocraft_ext.hub push my/jungle owner/jungle --sample out/a.wav
    python -m audiocraft_ext.hub pull owner/jungle              # into ./jungle, then: python infer.py jungle
    python -m audiocraft_ext.hub pull owner/jungle@COMMIT -o there

A push sends the bundle's files and a model card (README.md) written from its model.json; a README.md of your own in the
folder goes in its place. A pull compares every file with the bundle's hashes before the folder gets its name; stopped,
the same command goes on. Safetensors, ONNX, JSON and Markdown only, never a pickle. A token to push with, or to read a
private repository, is taken from HF_TOKEN or from 'hf auth login'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from audiocraft_ext.core.errors import Parser
from audiocraft_ext.hub import contents, pull, push
from audiocraft_ext.hub.files import CARD
from audiocraft_ext.runs.pipeline import shown


def build_parser() -> Parser:
    parser = Parser(prog="python -m audiocraft_ext.hub", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="push|pull", parser_class=Parser)
    one = commands.add_parser("push", help="send a bundle to a repository, which is made if it is not there",
                              description="Send a bundle to owner/name on the Hub, in one commit.")
    one.add_argument("bundle", help="a folder, or the name of a bundle that ships")
    one.add_argument("repo", metavar="owner/name", help="you or an organisation of yours, and a name")
    one.add_argument("--sample", action="append", default=[], type=Path, metavar="FILE",
                     help="a WAV, FLAC, OGG, MP3 or MIDI file that the card plays; more than once for more")
    one.add_argument("--private", action="store_true", help="a repository that is made is for you alone")
    one.add_argument("--dry-run", action="store_true", help="show the card and the files, send nothing")
    other = commands.add_parser("pull", help="fetch a bundle, check it, and give it its name",
                                description="Fetch the bundle at owner/name[@revision]; the same command goes on.")
    other.add_argument("address", metavar="owner/name[@revision]",
                       help="the newest, or that of a branch, a tag or a commit (40 digits), which stays as it is")
    other.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="where to (by default the name, here)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    if args.command == "pull":
        done = pull(args.address, args.out)
        print(f"{shown(done.folder)}: {done.repo}@{done.commit}{'' if done.fresh else ', was there already'}")
        print(f"play it: python infer.py {shown(done.folder)} -n 4")
    elif args.dry_run:
        for name, data in contents(args.bundle, args.repo, args.sample).items():
            size = len(data) if isinstance(data, bytes) else data.stat().st_size
            print(f"{size:>12,}  {name}")
            if name == CARD:
                text = data.decode() if isinstance(data, bytes) else data.read_text("utf-8", "replace")
        print(f"\n{text}")
    else:
        sent = push(args.bundle, args.repo, samples=args.sample, private=args.private)
        print(f"{sent.url}{'' if sent.fresh else ' had all of it already'}")
        print(f"get it: python -m audiocraft_ext.hub pull {sent.repo}@{sent.commit}")

