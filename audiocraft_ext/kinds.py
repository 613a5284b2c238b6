"""The kinds of codes: the modules of each, by the ``kind`` of a spec. A kind is a folder in ``audiocraft_ext`` and one
line in :data:`KINDS`.

Training, export and sampling work on codes and ask this table for what depends on the kind. Modules are named by dotted
name and imported when they are asked for, so a cold start pays for its own kind only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from audiocraft_ext.core.errors import UserError

if TYPE_CHECKING:
    import argparse

    import numpy as np

    from audiocraft_ext.core.packing import RecipeBase
    from audiocraft_ext.core.spec import Spec
    from audiocraft_ext.engine.bundle import Bundle
    from audiocraft_ext.export.sources import Trained
    from audiocraft_ext.store.reader import TokenStore, Track


class Modules(NamedTuple):
    """Where the parts of a kind are.

    Attributes:
        kind: a module with what :class:`Kind` says.
        player: ``module:class`` of its :class:`Player`.
        cli: a module with what :class:`CommandLine` says.
    """

    kind: str
    player: str
    cli: str


KINDS = {
    "audio": Modules("audiocraft_ext.audio.kind", "audiocraft_ext.audio.instrument:Instrument",
                     "audiocraft_ext.audio.cli"),
    "drums": Modules("audiocraft_ext.drums.kind", "audiocraft_ext.drums.play.drummer:Drummer",
                     "audiocraft_ext.drums.play.cli"),
    "notes": Modules("audiocraft_ext.notes.kind", "audiocraft_ext.notes.play.composer:Composer",
                     "audiocraft_ext.notes.play.cli"),
    "song": Modules("audiocraft_ext.songs.kind", "audiocraft_ext.songs.play.sketcher:Sketcher",
                    "audiocraft_ext.songs.play.cli"),
}
UNNAMED = "audio"  # what is of no named kind: audiocraft's own models, clips' JSONs, a command line without a bundle
FORMATS = {"audiocraft": "audiocraft_ext.audio.codec.audiocraft"}  # of other programs; see Format


class View(Protocol):
    """How a model in training sees a store: each window with its prompt, and perhaps altered.

    Attributes:
        options: all of them, JSON values; a part of what a run is.
    """

    options: dict

    def window(self, track: Track, start: int, frames: int, rng: np.random.Generator | None) -> np.ndarray:
        """``codes [K, P + n]``, n up to ``frames``, of the window of a track that begins with frame ``start`` of the
        store (or near it). Without random numbers: as it is in the store, with a null prompt."""


class Kind(Protocol):
    """What training and export ask of a kind.

    ``codec_config`` is what a checkpoint keeps of the codec and its data, and a bundle's ``model.json`` under
    ``codec``: JSON values with the codec's name as ``type``; None where the spec's ``codec`` and ``codec_hash`` are
    enough.
    """

    def view(self, store: TokenStore, options: dict) -> View | None:
        """Of a store; ``options`` are the config's ``dataset.view``. None: windows as they are, without prompts.

        Raises:
            UserError: an unknown option.
        """

    def codec_config(self, store: TokenStore) -> dict | None:
        """What a store says of it."""

    def load_codec(self, spec: Spec, codec_config: dict | None, name: str | None = None,
                   bundle: Path | None = None) -> Any:
        """The codec that made codes of this spec; None where a bundle holds none.

        Args:
            name: a name or folder to take it from, as ``--codec`` gives it; by default where the spec says.
            bundle: the folder of a bundle that holds the codec.

        Raises:
            UserError: it is not there, or it is another one.
        """

    def codec_licence(self, codec: Any, places: Sequence[str | None]) -> str:
        """The licence of a codec's weights, as it is known of this codec or stated by the first of ``places`` (names
        and folders) that says one."""

    def bundle_parts(self, folder: Path, model: Trained, half: bool, licence: str) -> dict | None:
        """Write the codec's files into a bundle's folder, and return what ``model.json`` says under ``codec``.

        Args:
            half: weights as fp16.
            licence: of the codec's weights, where nothing better is known.
        """

    def export_note(self, model: Trained) -> str:
        """A line for whoever exports the model; "" where there is nothing to say."""

    def null_prompt(self, spec: Spec, codec_config: dict | None) -> np.ndarray | None:
        """Codes ``[K, P]`` of an unconditional clip; None where there are no prompts."""

    def judge(self, store: TokenStore) -> Callable[[np.ndarray], dict[str, float]]:
        """What tells how clips ``codes [B, K, P + T]`` compare with the valid split of a store: figures by name, among
        them ``kad``, ``pulse`` and ``score``, of which less is better.

        Raises:
            UserError: this kind has no such measure.
        """

    def controls(self, spec: Spec, codec_config: dict | None, frames: int) -> np.ndarray | None:
        """The controls ``[C, P + frames]`` of a prompt and an unconditional clip; None where there are none."""

    def write_samples(self, codes: np.ndarray, spec: Spec, codec_config: dict | None, folder: Path, seed: int,
                      warn: Callable[[str], object]) -> Iterable[tuple[np.ndarray, int]]:
        """Write files ``clip_{i}.*`` of clips ``codes [B, K, P + T]``.

        Args:
            seed: of the sampling, for comments.
            warn: takes a line, where files cannot be made here.

        Returns:
            The sound of each as it is written, ``float32 [N]``, and its rate in Hz.
        """


class Player(Protocol):
    """A bundle that makes clips: what an application, a server or a test needs, whatever the kind.

    A clip is what the kind makes of codes; it has its ``index`` and its ``codes int64 [K, T]``, without a prompt. A
    recipe is all that a clip is a function of, besides its index: the same two give the same clip. ``RECIPE`` is the
    class of its recipes.
    """

    RECIPE: type[RecipeBase]
    bundle: Bundle

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Player:
        """Open a bundle by its folder or name.

        Args:
            options: ``say`` takes notes for the user, a line each; the others are those of
                :class:`~audiocraft_ext.engine.engine.Engine`.

        Raises:
            UserError: there is none, it is damaged, or it is of another kind.
        """

    def recipe(self, **what: Any) -> Any:
        """Put together and check what is asked for, before anything is sampled. Every kind takes ``seed``, ``bpm``,
        ``bars`` and the settings of :class:`~audiocraft_ext.engine.sampling.Sampling`; the rest is its own.

        Raises:
            UserError: something that cannot be; the message says what could.
        """

    def play(self, recipe: Any, indices: Sequence[int],
             progress: Callable[[float], object] = lambda done: None) -> Iterator[Any]:
        """Make clips of a recipe, each with its ``index``. ``progress`` takes how many are done, in parts too.

        Raises:
            UserError: the recipe is another bundle's or precision's, or the bundle is damaged.
        """

    def stream(self, recipe: Any, index: int = 0) -> Iterator[np.ndarray]:
        """One clip while it is sampled, piece by piece: of sound ``float32 [n]``, of notes ``int64 [n, 3]``.

        Raises:
            UserError: a recipe that needs the whole clip.
        """

    def save(self, clip: Any, folder: str | Path = ".", output: Any = None) -> list[Path]:
        """Write a clip into ``folder`` without harm to what is there; returns its files, the main one first.

        Args:
            output: how it is written, of the kind's own type; None is its default.

        Raises:
            UserError: it cannot be written; then nothing of it is left.
        """


class CommandLine(Protocol):
    """What ``infer.py`` asks of a kind."""

    def main(self, argv: list[str]) -> object:
        """Do what the arguments say.

        Raises:
            UserError: they cannot be, or what they ask for cannot be made.
        """

    def build_parser(self) -> argparse.ArgumentParser:
        """The options."""


class Format(Protocol):
    """A format of another program that a model is read from and written in."""

    def read(self, path: Path, codec: str | None) -> Trained:
        """From a folder; ``codec`` names the codec where it is not in there."""

    def read_codec_of(self, config: Mapping[str, Any], codec: str | None, path: Path) -> Any:
        """The codec that the config of a checkpoint ``path`` names, or ``codec`` instead."""

    def write(self, out: Path, model: Trained, half: bool = False, force: bool = False) -> None:
        """Into a folder; arguments as for :func:`audiocraft_ext.export.bundle.write_bundle`."""


def modules_of(kind: str | None) -> Modules:
    """A line of the table; None is :data:`UNNAMED`.

    Raises:
        UserError: there is no such kind here.
    """
    kind = UNNAMED if kind is None else kind
    if kind not in KINDS:
        raise UserError(f"no kind of codes is called {kind!r} here; there are {', '.join(KINDS)}")
    return KINDS[kind]


def kind_of(spec: Spec) -> Kind:
    """The module that training and export call, by the kind of a spec."""
    return import_module(modules_of(spec.kind).kind)


def player(path: str | Path, **options: Any) -> Player:
    """Open a bundle of any kind, by its folder or name; arguments as for :meth:`Player.load`."""
    from audiocraft_ext.engine.bundle import Bundle, find_bundle

    folder = find_bundle(path)
    module, _, name = modules_of(Bundle(folder).spec.kind).player.partition(":")
    return getattr(import_module(module), name).load(folder, **options)


def command_line(kind: str | None) -> CommandLine:
    """The command line for bundles of a kind."""
    return import_module(modules_of(kind).cli)


def format_of(name: str) -> Format:
    """A format of :data:`FORMATS`."""
    return import_module(FORMATS[name])
