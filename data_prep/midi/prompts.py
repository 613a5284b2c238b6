"""What is said of each row of a store in the words of a prompt (describe.py of audiocraft_ext/drums, notes and songs).

The genres of drums are those of the files that the store was first made from, so that the codes of its prompts stay
what they are; a style that comes later and is none of them says nothing. Of several instruments, and of songs, the
words are the same in every store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import Prompts, prompts_of
from audiocraft_ext.drums.codec.clip import Hits
from audiocraft_ext.drums.describe import describe, genre_of, prompts
from audiocraft_ext.notes import describe as notes
from audiocraft_ext.notes.codec.multitrack import Multitrack
from audiocraft_ext.songs import describe as songs
from audiocraft_ext.songs.codec.voices import Facts, Voices
from audiocraft_ext.songs.places import places
from data_prep.midi.read import MidiFacts, Slice
from data_prep.shared.labels import Row

MOST_GENRES = 64  # where each file has a "style" of its own, the most frequent are words


def kept(settings: dict | None, wanted: bool, store: object) -> Prompts | None:
    """The prompts of a store that is there.

    Args:
        settings: its own; None if there is no store.
        wanted: whether it is to have prompts.

    Raises:
        UserError: it has none and shall have, or the other way round.
    """
    if settings is None:
        return None
    if "type" not in settings.get("codec", {}):
        raise UserError(f"{store}: made by an earlier version, without prompts; prepare a new one, in a new folder")
    there = prompts_of(settings)
    if (there is not None) != wanted:
        raise UserError(f"{store}: this token store was made with{'' if there else 'out'} prompts; prepare it with"
                        f"{'out' if there else ''} --no-prompts, or name a new folder")
    return there


def of_genres(styles: Iterable[str | None], codec) -> Prompts:
    """The prompts of a new store, from the style of each of its files."""
    if isinstance(codec, Multitrack):
        return notes.prompts(codec)
    if isinstance(codec, Voices):
        return songs.prompts(codec)
    genres = Counter(genre for style in styles if (genre := genre_of(style)))
    return prompts(sorted(sorted(genres, key=lambda genre: (-genres[genre], genre))[:MOST_GENRES]), codec)


def of_codec(there: Prompts, codec) -> Prompts:
    """The prompts with the genres of others."""
    if isinstance(codec, (Multitrack, Voices)):
        return there
    return prompts(there.words["genre"], codec)


def style_and_kind(facts: MidiFacts, row: Row | None) -> tuple[str | None, str | None]:
    """Style and kind of a file, a person's table first."""
    return (row and row.style) or facts.labels.style, (row and row.kind) or facts.labels.kind


def codes(one: Slice, codec) -> np.ndarray:
    """The codes ``[K, T]`` of a slice."""
    if isinstance(codec, Voices):
        return np.concatenate([one.hits.T, places(_facts(one.facts), len(one.hits))])
    if isinstance(codec, Multitrack):
        return codec.codes_of(one.hits.astype(np.int64), one.bars, one.steps // one.bars)
    return codec.codes_of(Hits(*one.hits.T.astype(np.int64), np.arange(len(one.hits))), one.bars, one.steps // one.bars)


def _facts(row: Mapping) -> Facts:
    """Of a row of a song's store."""
    return Facts(row["beats"], row["rhythm"], row["channels"], row["drums"])


def words(codes: np.ndarray, meter: tuple[int, int], row: dict, codec, there: Prompts) -> dict[str, str]:
    """What is said of a row of the store, by field; only words that there are. The ``row`` says style, kind and bpm
    where they are known."""
    if isinstance(codec, Multitrack):
        return notes.describe(codes, codec, row.get("bpm"), meter)
    if isinstance(codec, Voices):
        return songs.describe(_facts(row), row.get("bpm"))
    described = describe(codec.pattern(codes, meter), row.get("style"), row.get("kind"), row.get("bpm"), meter)
    return {name: word for name, word in described.items() if word in there.words[name]}


def unknown(style: str | None, there: Prompts) -> str:
    """A remark on a style whose genre is not among the words; "" where it is."""
    genre = genre_of(style)
    return f"its genre is none of the store's: {genre}, so nothing is said of it" if (
        genre and genre not in there.words.get("genre", (genre,))) else ""
