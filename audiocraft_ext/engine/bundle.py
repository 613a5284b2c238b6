"""A bundle: one folder, one instrument. Reading it, and being sure of it, without torch.

    model.json                          what it is: spec, sizes, defaults, licence, and the hash of every other file
    lm.onnx                             a graph only, a few KB
    lm.safetensors                      all the weights, once; the graph points into them
    lm.int8.onnx  lm.int8.safetensors   the LM's products once more in another precision, where there is one

What a codec has in it is its kind's (:class:`audiocraft_ext.audio.engine.SoundBundle`). docs/FORMATS.md has it all byte
by byte. Sizes are checked at once; the hashes in a thread of their own, beside the
loading of the weights, and :meth:`Bundle.verify` waits for them before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import known_sha256
from audiocraft_ext.core.lazy import forget_in_forks
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.model.config import LMConfig

FORMAT, VERSION = "micro-musicgen bundle", 2
BUNDLES = Path(__file__).parents[1] / "bundles"
DEFAULT = "embedded"
LONGEST = 3600  # seconds of one clip; at 192 kHz in floats a WAV ends at 5592
QUANTISED = ("int8", "int4")
LM_FILES = ("lm.onnx", "lm.safetensors")


class Bundle:
    """A bundle on the disk, checked.

    Attributes:
        info: ``model.json`` as it is.
        spec: of the codes of its clips; ``lm_spec`` has the LM's controls besides.
        lm: the LM's options and sizes.
        context: the LM's context in frames: what it was trained on at once.
        sampling: the bundle's own choice.
        codec_config: what ``model.json`` says of the codec; None where it says nothing.
        precisions: in which its LM can be computed; ``precision`` is its own choice.

    Args:
        old: read one of an earlier version too; its weights can be exported again, but it cannot be played.

    Raises:
        UserError: no bundle there, another format or version, a file missing or of another size.
    """

    def __init__(self, path: str | Path, old: bool = False):
        self.path = Path(path)
        self.info = _read_info(self.path, old)
        try:
            self.lm_spec = Spec.from_dict(self.info["spec"])
            self.spec = self.lm_spec.clip
            self.lm = LMConfig.from_dict(dict(self.info["lm"]))
            self.context = int(self.info["context"])
            self.sampling = Sampling.from_dict(self.info["sampling"])
            self.precision = str(self.info["precision"])
            self.codec_config: dict[str, Any] | None = self.info["codec"]
            self._files = {str(n): (str(f["sha256"]), int(f["bytes"])) for n, f in self.info["files"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{self.path}/model.json: not a bundle's model.json ({error!r}); export it again") from None
        self.precisions = ["fp32", *(p for p in QUANTISED if f"lm.{p}.onnx" in self._files)]
        self.check_precision(None)
        self.check_listed(LM_FILES)
        self._check_sizes()
        self.forget()
        forget_in_forks(self)

    def forget(self) -> None:
        """Of the files' hashes none has been compared yet: the threads that do it are not in a fork."""
        self._error: UserError | None = None
        self._threads: list[threading.Thread] = []
        self._checked: set[str] = set()
        self._lock = threading.Lock()

    @property
    def restart(self) -> int | None:
        """The frames after which a clip goes on in a new window: the context; None where the LM's own window rolls."""
        return self.context if self.lm.window is None else None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def hash(self) -> str:
        """Identity of the whole bundle: ``model.json`` has the hash of every other file."""
        return hashlib.sha256((self.path / "model.json").read_bytes()).hexdigest()

    def file(self, name: str) -> Path:
        """The path of one of its files.

        Raises:
            UserError: the bundle does not have it.
        """
        if name not in self._files:
            raise UserError(f"{self.path}: this bundle has no {name}")
        return self.path / name

    def check_precision(self, precision: str | None) -> str:
        """``precision``, or the bundle's own choice.

        Raises:
            UserError: the bundle does not have it.
        """
        precision = precision or self.precision
        if precision not in self.precisions:
            again = f"; export it again with --precisions {','.join([*self.precisions, precision])}"
            raise UserError(f"{self.path}: this bundle has {', '.join(self.precisions)}, not {precision}"
                            f"{again if precision in QUANTISED else ''}")
        return precision

    def lm_files(self, precision: str) -> list[str]:
        """The LM's step graph and its weights."""
        stem = "lm" if precision == "fp32" else f"lm.{precision}"
        return [f"{stem}.onnx", f"{stem}.safetensors"]

    def frames(self, seconds: float) -> int:
        """The number of frames that is nearest to ``seconds``, at least 1.

        Raises:
            UserError: no time at all, or more than an hour.
        """
        if not 0 < seconds <= LONGEST:
            raise UserError(f"a clip lasts more than 0 and at most {LONGEST} s, got {seconds:g} s")
        return max(1, self.spec.frames(seconds))

    def start_check(self, *names: str) -> None:
        """Begin to compare the sha256 of these files (of all where none is named) with ``model.json``;
        :meth:`verify` waits for the result."""
        with self._lock:
            fresh = [name for name in names or self._files if name not in self._checked]
            self._checked.update(fresh)
            if fresh:
                self._threads.append(threading.Thread(target=self._compare, args=(fresh,), daemon=True))
                self._threads[-1].start()

    def verify(self) -> None:
        """Wait until the files that :meth:`start_check` was called for have been compared; if none, compare all.

        Raises:
            UserError: a file is not the one that ``model.json`` knows.
        """
        if not self._checked:
            self.start_check()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def check_listed(self, names: Iterable[str]) -> None:
        """Raise a :class:`UserError` unless these files are in the list of ``model.json``."""
        for name in names:
            if name not in self._files:
                raise UserError(f"{self.path}/model.json: expected the file {name} in its list; export it again")

    def _check_sizes(self) -> None:
        for name, (_, size) in self._files.items():
            path = self.path / name
            if Path(name).name != name:
                raise UserError(f"{self.path}/model.json: a file of a bundle lies in its folder, got {name!r}")
            if not path.is_file():
                raise UserError(f"{path}: missing; copy the whole bundle again, or export it again")
            if path.stat().st_size != size:
                raise UserError(f"{path}: altered or truncated, expected {size} bytes, got {path.stat().st_size}; "
                                "copy the bundle again, or export it again")

    def _compare(self, names: list[str]) -> None:
        try:
            for name in names:
                wanted, found = self._files[name][0], known_sha256(self.path / name)
                if found != wanted:
                    raise UserError(f"{self.path / name}: altered, expected sha256 {wanted[:16]}..., got "
                                    f"{found[:16]}...; copy the bundle again, or export it again")
        except UserError as error:
            self._error = error
        except OSError as error:
            self._error = UserError(f"{self.path}: cannot be read ({error.strerror or error})")


def find_bundle(name: str | Path | None = None) -> Path:
    """A bundle's folder: a path, or the name of one that ships with the repository; None is the embedded one.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    name = DEFAULT if name is None else name
    for path in (Path(name), BUNDLES / name):
        if (path / "model.json").is_file():
            return path
    there = ", ".join(list_bundles()) or "none"
    why = "has no model.json, so it is no bundle" if Path(name).exists() else "no such bundle"
    raise UserError(f"{name}: {why}; expected a folder that audiocraft_ext.export wrote, or one of those that come "
                    f"with this repository: {there}")


def list_bundles() -> list[str]:
    """Names of the bundles that ship with the repository."""
    return sorted(p.parent.name for p in BUNDLES.glob("*/model.json"))


def _from_version_1(info: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had one precision, and as ``context`` the longest clip that it allowed."""
    seconds = info.get("run", {}).get("segment_duration", 30.0)
    return info | {"version": VERSION, "precision": "fp32", "context": round(seconds * info["spec"]["frame_rate"])}


def _read_info(path: Path, old: bool) -> dict[str, Any]:
    file = path / "model.json"
    if not file.is_file():
        raise UserError(f"{path}: expected a bundle, a folder with model.json, and found none")
    try:
        info = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error}); copy the bundle again, or export it again") from None
    found = info.get("format") if isinstance(info, dict) else None
    if found != FORMAT:
        raise UserError(f"{file}: expected format {FORMAT!r}, got {found!r}; is this the folder of another program?")
    if old and info.get("version") == 1:
        info = _from_version_1(info)
    if info.get("version") != VERSION:
        raise UserError(f"{file}: expected version {VERSION}, got {info.get('version')!r}; 'python -m "
                        "audiocraft_ext.export OLD NEW' makes a new one of an old one")
    return info
