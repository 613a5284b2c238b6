"""Write the page: a folder that any static host serves, and that makes music in the browser.

    make page                              # out/page, with the bundles that ship
    python -m audiocraft_ext.page.build out/mine --bundles embedded,drums,my/jungle

What is in it: the web code beside this file, onnxruntime-web from npm (its version and hashes are below), the bundles'
files, the drum kit, ``instruments.json``, which says what the browser cannot read from an ONNX graph, and a README.md
that makes the folder a static Hugging Face Space. docs/PAGE.md has more.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.engine.bundle import Bundle, find_bundle, list_bundles
from audiocraft_ext.midi import waves
from audiocraft_ext.midi.names import INSTRUMENTS, PROGRAMS

WEB = Path(__file__).parent / "web"
KIT = Path(__file__).parents[1] / "kits" / "cc0"
CACHE = Path("build") / "npm"
BUNDLES = ",".join(name for name in ("embedded", "drums", "notes", "songs") if name in list_bundles())
ORT = "onnxruntime-web@1.30.0"
ORT_FILES = {  # sha256 of what is taken out of the package
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
WASM = "ort-wasm-simd-threaded.wasm"
PACKED = ".planes.gz"  # how weights lie in the folder: see in_planes
DECODER, ENCODER = ("front.onnx", "back.onnx"), "encoder.onnx"
PIECE = 32  # frames, where front.onnx does not say; as in audio/codec/decoder.py
GRID = "drum_grid"  # the codec of drums that the page can edit
SCORES = ("notes", "song")  # kinds of several instruments


def build(out: Path, bundles: Sequence[str], cache: Path = CACHE) -> Path:
    """Write the page into ``out``, which is made anew; returns it.

    Raises:
        UserError: a folder that is something else, no npm, a bundle that the page cannot play.
    """
    runtime = fetch_runtime(cache)
    opened = [Bundle(find_bundle(name)) for name in bundles]
    if len({bundle.name for bundle in opened}) < len(opened):
        raise UserError(f"expected bundles of different names, got {', '.join(bundle.name for bundle in opened)}")
    about = [instrument(bundle) for bundle in opened]
    _make_anew(out)
    shutil.copytree(WEB, out, dirs_exist_ok=True)
    shutil.copytree(KIT, out / "kit")
    _copy_runtime(runtime, out / "ort")
    for bundle, one in zip(opened, about):
        one["bytes"] = _copy_bundle(bundle, one, out / one["path"])
    (out / "instruments.json").write_text(json.dumps(about) + "\n", "utf-8")
    (out / "README.md").write_text(space_readme(about), "utf-8")
    _write_service_worker(out)
    return out


def instrument(bundle: Bundle) -> dict[str, Any]:
    """What the page has to know of a bundle, JSON values.

    Raises:
        UserError: the page cannot play it.
    """
    info, precision = bundle.info, bundle.precision
    if precision == "int4":
        raise UserError(f"{bundle.path}: the page plays fp32 and int8, this bundle's precision is int4; export it "
                        "again with another")
    for option in ("window", "mla"):  # caches of other shapes
        if getattr(bundle.lm, option) is not None:
            raise UserError(f"{bundle.path}: the page does not play models with transformer_lm.{option}, as this one "
                            "has; play it with infer.py")
    codec = bundle.codec_config or {}
    about = {name: info[name] for name in ("spec", "lm", "codec", "sampling", "context", "licence", "card")
             if name in info}
    about |= {"name": bundle.name, "kind": bundle.spec.kind, "hash": bundle.hash[:16], "precision": precision,
              "path": f"bundles/{bundle.name}", "lm_files": bundle.lm_files(precision)}
    if bundle.spec.kind == "audio":
        about["decoder"] = decoder(bundle)
    elif bundle.spec.kind in SCORES:
        about["general_midi"] = general_midi()
    elif bundle.spec.kind != "drums" or codec.get("type", GRID) != GRID:
        raise UserError(f"{bundle.path}: the page plays sound, drums of the codec {GRID}, notes and songs, this bundle "
                        f"has {bundle.spec.kind} of {codec.get('type', bundle.spec.kind)}; leave it out, infer.py "
                        "plays it")
    return about


def decoder(bundle: Bundle) -> dict[str, Any]:
    """What ``front.onnx`` says of itself, which onnxruntime-web does not hand out."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(bundle.file("front.onnx")), providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta().custom_metadata_map
    state = next((i.shape for i in session.get_inputs() if i.name == "state"), None)
    channels = next(o.shape[1] for o in session.get_outputs() if o.name == "features")
    return {"front": int(meta["front"]), "reach": int(meta["reach"]), "piece": int(meta.get("piece", PIECE)),
            "channels": channels, "state": state and [state[0], 1, state[2]]}


def general_midi() -> dict[str, Any]:
    """What instruments are called, and the plain waves that the page plays them with: those of ``kits/waves.sf2``."""
    return {"programs": PROGRAMS, "families": INSTRUMENTS, "registers": waves.REGISTERS,
            "loud": waves.LOUD, "voices": [voice._asdict() for voice in waves.VOICES.values()]}


def fetch_runtime(cache: Path) -> Path:
    """The folder with onnxruntime-web's files, taken from npm where they are not there yet.

    Raises:
        UserError: there is no npm, or no network, or the files are not those that were tested.
    """
    folder = cache / ORT
    if all(_sha256(folder / name) == wanted for name, wanted in ORT_FILES.items()):
        return folder
    if not shutil.which("npm"):
        raise UserError("the page needs onnxruntime-web from npm, and there is no npm; install Node.js")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["npm", "pack", ORT, "--silent"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"npm could not fetch {ORT} ({reason}); is there a network?")
    package = folder / done.stdout.strip().splitlines()[-1]
    with tarfile.open(package) as tar:
        for name in ORT_FILES:
            (folder / name).write_bytes(tar.extractfile(f"package/dist/{name}").read())
    package.unlink()
    for name, wanted in ORT_FILES.items():
        if _sha256(folder / name) != wanted:
            raise UserError(f"{folder / name}: expected sha256 {wanted[:16]}..., got {_sha256(folder / name)[:16]}...; "
                            "npm has another file than the one that was tested")
    return folder


def first_load(page: Path) -> int:
    """How many bytes a browser has to fetch before the first instrument of a written page can play."""
    first = json.loads((page / "instruments.json").read_text("utf-8"))[0]
    files = [path for path in page.rglob("*") if path.is_file() and path.name not in ("README.md", "sw.js")
             and path.relative_to(page).parts[0] not in ("bundles", "kit")]
    return sum(path.stat().st_size for path in files) + sum(first["bytes"].values())


def space_readme(about: Sequence[dict[str, Any]]) -> str:
    """The README of a static Hugging Face Space."""
    names = "".join(f"- {one['name']}: {one.get('licence', 'no licence stated')}\n" for one in about)
    return ("---\ntitle: micro-musicgen\nemoji: 🥁\ncolorFrom: gray\ncolorTo: yellow\nsdk: static\n"
            "app_file: index.html\npinned: false\nlicense: mit\n---\n\n"
            "Tiny music language models that play in the browser: no server, no account, offline after the first "
            f"visit.\n\nThe instruments and their licences:\n\n{names}\n"
            "The code is MIT, onnxruntime-web (Microsoft) is MIT, the drum kit is CC0.\n")


def _make_anew(out: Path) -> None:
    if out.exists() and any(out.iterdir()) and not (out / "instruments.json").is_file():
        raise UserError(f"{out}: expected an empty folder or an earlier page, got something else; name another one")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)


def _copy_runtime(runtime: Path, out: Path) -> None:
    out.mkdir()
    for name in ORT_FILES:
        if name == WASM:
            _write_packed(out / f"{name}.gz", (runtime / name).read_bytes())
        else:
            shutil.copy(runtime / name, out / name)


def _copy_bundle(bundle: Bundle, about: dict[str, Any], out: Path) -> dict[str, int]:
    """The sizes of the files that the page reads to play it, by name."""
    out.mkdir(parents=True)
    graph, weights = about["lm_files"]
    sound = "decoder" in about
    graphs = [graph, *(DECODER if sound else ())]
    bundle.verify()
    for name in (*graphs, *((ENCODER,) if sound else ()), "model.json", "LICENCES.md"):
        if (bundle.path / name).is_file():
            shutil.copy(bundle.path / name, out / name)
    packed = [f"{weights}{PACKED}"]
    _write_packed(out / packed[0], in_planes((bundle.path / weights).read_bytes()))
    if sound:
        packed.append(f"decoder.safetensors{PACKED}")
        _write_packed(out / packed[1], in_planes(_weights_of(bundle, *DECODER)))
        _write_packed(out / f"encoder.safetensors{PACKED}", in_planes(_weights_of(bundle, ENCODER)))
    return {name: (out / name).stat().st_size for name in (*graphs, *packed)}


def _write_packed(path: Path, data: bytes) -> None:
    """As gzip: a plain server does not compress, and the browser unpacks it itself."""
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def in_planes(data: bytes) -> bytes:
    """The bytes of even places, then those of odd ones. Of fp16 these are the digits, which are noise, and sign and
    exponent, which are not: gzip then takes 14% off instead of 8% (byte shuffling, as HDF5's filter of that name)."""
    return data[::2] + data[1::2]


def _weights_of(bundle: Bundle, *graphs: str) -> bytes:
    """``codec.safetensors`` with zeros for what the graphs do not read; offsets stay, and zeros pack to nothing."""
    import onnx

    whole = (bundle.path / "codec.safetensors").read_bytes()
    kept = bytearray(len(whole))
    for name in graphs:
        for tensor in onnx.load(bundle.path / name, load_external_data=False).graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            if place:
                begin, end = int(place["offset"]), int(place["offset"]) + int(place["length"])
                kept[begin:end] = whole[begin:end]
    return bytes(kept)


def _write_service_worker(out: Path) -> None:
    """Into sw.js the list of what there is, with a version that changes when any of it does."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name not in ("sw.js", "README.md"))
    digest = hashlib.sha256()
    for path in [*files, out / "sw.js"]:
        digest.update(path.relative_to(out).as_posix().encode() + path.read_bytes())
    names = ["./", *(path.relative_to(out).as_posix() for path in files)]
    text = (out / "sw.js").read_text("utf-8")
    text = text.replace('"VERSION"', json.dumps(digest.hexdigest()[:16])).replace('["FILES"]', json.dumps(names))
    (out / "sw.js").write_text(text, "utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def main() -> None:
    parser = Parser(prog="python -m audiocraft_ext.page.build", description="Write the page that plays in a browser.")
    parser.add_argument("out", type=Path, nargs="?", default=Path("out/page"), help="folder (default out/page)")
    parser.add_argument("--bundles", default=BUNDLES, help=f"names or folders, with commas (default {BUNDLES})")
    args = parser.parse_args()
    out = build(args.out, [name.strip() for name in args.bundles.split(",") if name.strip()])
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.1f} MB, {first_load(out) / 1e6:.1f} MB of it before the first instrument plays; "
          f"python -m http.server -d {out} --bind 127.0.0.1 shows it")


if __name__ == "__main__":
    run_cli(main)
