"""What the players of bundles have in common whose codec has no weights and lies in ``model.json``: opening, the engine
when it is first needed, and whether a recipe is theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.lazy import Lazy
from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.engine.bundle import BUNDLES, Bundle, find_bundle
from audiocraft_ext.engine.sampling import Sampling

if TYPE_CHECKING:
    from audiocraft_ext.engine.engine import Engine

Say = Callable[[str], object]
P = TypeVar("P", bound="PlayerBase")


class PlayerBase:
    """A bundle, ready to be asked for clips. Any number of threads may share it; a fork of the process opens the bundle
    again.

    Args:
        say: called with notes for the user, a line each.
        options: those of :class:`~audiocraft_ext.engine.engine.Engine`: threads, precision, backend, device, max_batch.

    Raises:
        UserError: the bundle is of something else.
    """

    RECIPE: ClassVar[Any]  # the class of its recipes
    KIND: ClassVar[str]  # of its bundles
    MAKES: ClassVar[str]  # what they make, ONE of it and MANY, in messages
    ONE: ClassVar[str]
    MANY: ClassVar[str]
    MAX_BATCH: ClassVar[int]
    codec_of: ClassVar[Callable[[dict], Any]]  # a codec from its config

    def __init__(self, bundle: Bundle, say: Say = lambda text: None, **options: Any):
        self.bundle, self.say = bundle, say
        self._options = {"backend": "onnx", "precision": None, "max_batch": self.MAX_BATCH} | options
        config = bundle.codec_config
        if bundle.spec.kind != self.KIND or not config:
            raise UserError(f"{bundle.path}: this bundle makes {bundle.spec.kind}, not {self.MAKES}; see infer.py "
                            "--list")
        self.codec, self.prompts = type(self).codec_of(config), prompts_of(config)
        shipped = bundle.path.resolve().parent == BUNDLES.resolve()
        self._about = {} if shipped else {"bundle": str(bundle.path.resolve())}
        self._engine = Lazy(self._open)

    @classmethod
    def load(cls: type[P], path: str | Path, **options: Any) -> P:
        """Open a bundle by its folder or name.

        Raises:
            UserError: there is none, it is damaged, or it is of something else.
        """
        return cls(Bundle(find_bundle(path)), **options)

    @property
    def engine(self) -> Engine:
        """Loaded when it is first needed: a recipe is checked before that."""
        return self._engine()

    def _open(self, **other: Any) -> Engine:
        from audiocraft_ext.engine.engine import Engine

        return Engine(self.bundle, **self._options | other)

    def _sampling(self, given: dict[str, Any]) -> Sampling:
        """The bundle's own, with what is ``given``; None gives nothing."""
        sampling = replace(self.bundle.sampling, **{name: value for name, value in given.items() if value is not None})
        sampling.check(self.bundle.spec.n_q)
        return sampling.clamped(self.bundle.spec.card)[0]

    def _precision(self) -> str:
        if self._options["backend"] == "onnx":
            return self.bundle.check_precision(self._options["precision"])
        return self.engine.precision

    def _check_mine(self, recipe: Any) -> None:
        """Raise a :class:`UserError` for the recipe of another bundle, precision or backend."""
        wanted = (recipe.bundle_hash, recipe.precision, recipe.backend)
        mine = (self.bundle.hash[:16], self._precision(), self._options["backend"])
        for name, a, b in zip(("bundle", "precision", "backend"), wanted, mine):
            if a != b:
                raise UserError(f"the {self.ONE} was made with the {name} {a}, and this is {self.bundle.name} with "
                                f"{b}; it would be another {self.ONE}")
