"""Which drums are meant: names of classes, as one types them."""

from __future__ import annotations

from collections.abc import Iterable

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.drum_map import DrumMap
from audiocraft_ext.drums.play.recipe import KEEP, TO, one_of


def classes_named(what: str, texts: str | Iterable[str], drums: DrumMap) -> tuple[str, ...]:
    """The classes that are meant by ``kick,snare``, ``hats``, ``open`` (the beginning of one), in the map's order.

    Raises:
        UserError: none or several are; lists those there are.
    """
    names = [one.name for one in drums.classes]
    plain, found = {name.lower(): name for name in names}, set()
    for text in texts.split(",") if isinstance(texts, str) else texts:
        word = text.strip().lower()
        kin = word.removesuffix("s")
        together = {name for name in names if "_" in name and name.lower().split("_")[-1] == kin}  # hats, toms
        if word not in plain and (together or kin in plain):
            found |= together or {plain[kin]}
        else:
            found.add(one_of(what, text, names))
    return tuple(name for name in names if name in found)


def kept_classes(keep: str | Iterable[str], reroll: str | Iterable[str], drums: DrumMap) -> tuple[str, ...]:
    """The classes that stay, from a list of those or of the others.

    Raises:
        UserError: both or neither were given, or a class that there is not.
    """
    if bool(keep) == bool(reroll):
        raise UserError("say which drums stay (--keep kick,snare) or which are played anew (--reroll hats), one of "
                        f"them; there are {', '.join(one.name for one in drums.classes)}")
    if keep:
        kept = classes_named("keep", keep, drums)
        if len(kept) == len(drums.classes):
            raise UserError("keep: those are all there are, nothing is left to play anew; leave some out")
        return kept
    new = classes_named("reroll", reroll, drums)
    return tuple(one.name for one in drums.classes if one.name not in new)


def kept(change: str, keep: str | Iterable[str], reroll: str | Iterable[str], lane: str | None,
         drums: DrumMap) -> tuple[str, ...]:
    """The classes that a change of a file gives: of "keep" those of :func:`kept_classes`, of "to" the one that is
    called ``lane``, by default the first, which is the kick in the maps that ship; else none.

    Raises:
        UserError: there are no such classes, or all others are none.
    """
    if change == KEEP:
        return kept_classes(keep, reroll, drums)
    if change != TO:
        return ()
    found = classes_named("to-lane", lane or drums.classes[0].name, drums)
    if len(found) != 1:
        raise UserError(f"to-lane: one drum plays the rhythm, and {lane!r} is {', '.join(found)}")
    if len(drums.classes) == 1:
        raise UserError(f"to-lane: {found[0]} is all that this model plays, nothing is left to play to it")
    return found
