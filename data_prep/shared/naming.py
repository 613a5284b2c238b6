"""What words say about a sound: a tempo, a key, a licence, as people write them in tags, tables and file names.

In a name a number may be anything, so tempo and key are read there only where little else can be meant: better nothing
than a wrong tempo, by which bars would be cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SLOWEST, FASTEST = 20.0, 400.0  # bpm that is believed where it says so
NOT_LATIN = re.compile("[\x80-\x9f]|[\xa1-\xff]{5,}")
LETTERS = re.compile("[A-Za-z]")
KANA = re.compile("[\u3041-\u30fe]")
# What Windows writes in this place is mostly these.
QUOTES = dict(zip("\x85\x91\x92\x93\x94\x96\x97", "\u2026\u2018\u2019\u201c\u201d\u2013\u2014"))
LONGEST = 200  # characters of a title

_NUMBER = r"\d{2,3}(?:[.,]\d{1,3})?"
_BEFORE = re.compile(rf"(?<![\d.,])({_NUMBER})[-_ ]?bpm(?![a-z])", re.I)
_AFTER = re.compile(rf"(?<![a-z])bpm[-_ =]{{0,3}}({_NUMBER})(?![\d.,]*\d)", re.I)
_PARTS = re.compile(r"[A-Za-z0-9#.]+")
_LOOPS = {"loop", "loops", "break", "breaks", "breakbeat", "amen"}  # a name with one of these may begin with its tempo
_UNITS = re.compile(r"(?i)(kbps|kb|k|khz|hz|bits?|bars?|beats?|ms|db|s|secs?|min|steps?|ths?|st|nd|rd)$")
_COUNTED = {"track", "take", "kick", "snare", "hat", "clap", "hit", "shot", "loop", "break", "beat", "no", "nr", "vol",
            "part", "pt", "pattern", "sample", "version", "v", "room", "bank", "preset", "kit"}  # it counts them
_MACHINES = {"sh", "cz", "dx", "mks", "cr", "juno", "mc", "sp", "tr", "tb", "ms", "rx", "dr", "kpr", "jx", "jv", "jp",
             "jd", "d", "s", "vl", "hr", "mpc", "mpk", "r", "sr", "linn", "prophet", "alpha", "system", "oberheim"}

_NOTE = r"([A-Ga-g])(#|sharp|b|flat)?"
_KEY = re.compile(rf"{_NOTE}[-_ ]?(m|M|[Mm]in(?:or)?|[Mm]aj(?:or)?|moll|dur)?$")
_CLEAR_KEY = re.compile(rf"(?:{_NOTE}(?:min|minor|maj|major)|[A-G][#b]?m)$")  # one word that is a key
_WHEEL = re.compile(r"(1[0-2]|[1-9])([ABdm])$")  # Camelot (8B is C), Open Key (1d is C)
_MAJORS = ("C", "G", "D", "A", "E", "B", "F#", "Db", "Ab", "Eb", "Bb", "F")  # by fifths, as wheels count
_MINORS = ("Am", "Em", "Bm", "F#m", "C#m", "G#m", "Ebm", "Bbm", "Fm", "Cm", "Gm", "Dm")

_CC = re.compile(r"(?:\bCC[ -]|creative ?commons\b.{0,80}?|creativecommons\.org/licenses/)\b"
                 r"(BY(?:[- ](?:NC|SA|ND))*|Attribution(?:[- ]?(?:NonCommercial|ShareAlike|NoDeriv(?:ative)?s))*)"
                 r"[-/ ]*(?:v|version )?(\d\.\d)?", re.I)
_CC0 = re.compile(r"\bCC[- ]?0\b|creative ?commons zero|publicdomain/zero", re.I)
_PUBLIC = re.compile(r"publicdomain/mark|^\W*public domain\W*$", re.I)
_BSD = re.compile(r"redistribution and use in source and binary forms,? with or without modification", re.I)
_MIT = re.compile(r"permission is hereby granted, free of charge, to any person obtaining a copy", re.I)
_SPDX = re.compile(r"^(?:(?:the )?(?:licen[cs]e:? )?)(MIT|BSD-[23]-Clause|0BSD|ISC|Unlicense|WTFPL|OFL-1\.1|"
                   r"Apache-2\.0|[AL]?GPL-[23]\.[01](?:-only|-or-later|\+)?)(?: licen[cs]e)?\.?$", re.I)


@dataclass(frozen=True)
class Labels:
    """What people say of a file: from its tags, a sidecar, its name, a table. None where nobody says."""

    title: str | None = None
    bpm: float | None = None
    key: str | None = None
    licence: str | None = None


def text_of(value: object) -> str | None:
    """One line of at most LONGEST characters that can be written anywhere; None if nothing is left."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, str):
        return None
    value = readable(value).encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:LONGEST] or None


def readable(text: str) -> str:
    """Text whose bytes were taken for Latin-1, as tags without a code are: in the code that it is in, where that is
    certain (UTF-8, Shift-JIS); else with "\ufffd" for what cannot be Latin-1. Other text as it is.

    Latin-1 has no characters from 0x80 to 0x9f, and no language that it serves has five accents in a row.
    """
    if not any("\x80" <= c for c in text) or any(c > "\xff" for c in text):
        return text
    data = text.encode("latin-1")
    if (found := _decoded(data, "utf-8")) is not None:
        return found
    if not NOT_LATIN.search(text):
        return text
    found = _decoded(data, "cp932")
    if found is not None and (KANA.search(found) or not LETTERS.search(found)):  # "it\x92s" decodes too
        return found
    return NOT_LATIN.sub(lambda match: QUOTES.get(match[0]) or "\ufffd" * len(match[0]), text)


def _decoded(data: bytes, code: str) -> str | None:
    try:
        return data.decode(code)
    except UnicodeDecodeError:
        return None


def bpm_of(value: object) -> float | None:
    """A tempo that is said to be one: 174, "174.00", "174,5 BPM"; None if it is none or out of reason."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,3}(?:[.,]\d{1,6})?)\s*(?:bpm)?\s*", value, re.I)
        value = float(match[1].replace(",", ".")) if match else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if SLOWEST <= value <= FASTEST else None


def key_of(value: object) -> str | None:
    """A key that is said to be one, as "Am", "F#m", "C": from "A minor", "Gbmaj", "8A" (Camelot), "1m" (Open Key)."""
    words = (text_of(value) or "").replace("♯", "#").replace("♭", "b")
    if match := _WHEEL.match(words):
        number, side = int(match[1]), match[2]
        at = (number - 8 if side in "AB" else number - 1) % 12
        return (_MINORS if side in "Am" else _MAJORS)[at]
    if match := _KEY.match(words):
        sign = {"sharp": "#", "flat": "b", None: ""}.get(match[2], match[2])
        minor = match[3] == "m" or (match[3] or "").lower() in ("min", "minor", "moll")
        return match[1].upper() + sign + ("m" if minor else "")
    return None


def licence_of(text: str) -> str | None:
    """The SPDX name of a licence that a text names or is: CC0, CC BY and its kin, MIT, BSD; a bare SPDX name."""
    text = " ".join(text.split())
    if match := _SPDX.match(text):
        return match[1]
    if _CC0.search(text):
        return "CC0-1.0"
    if match := _CC.search(text):
        kind = match[1].upper().replace(" ", "-").replace("ATTRIBUTION", "BY")
        for word, short in (("NONCOMMERCIAL", "NC"), ("SHAREALIKE", "SA"), ("NODERIVATIVES", "ND"), ("NODERIVS", "ND")):
            kind = kind.replace(word, short)
        kind = "-".join(re.findall("BY|NC|SA|ND", kind))
        return f"CC-{kind}" + (f"-{match[2]}" if match[2] else "")
    if _PUBLIC.search(text):
        return "public domain"
    if _BSD.search(text):
        return "BSD-3-Clause" if re.search(r"\bneither the names?\b", text, re.I) else "BSD-2-Clause"
    return "MIT" if _MIT.search(text) else None


def in_name(stem: str) -> tuple[float | None, str | None]:
    """Tempo and key from a file's name without its ending.

    A tempo has the word ("amen_170bpm", "Loop 174 BPM Am"), or stands beside a key ("174_F#m_bass"), or comes before a
    loop's name ("DNB_174_drum_loop_02"); so neither "track 120" nor "loop_120", "SH-101 bass", "TR-808" or "1994".
    """
    stem = stem.replace("♯", "#").replace("♭", "b")
    parts = [(m[0].rstrip("."), m.start()) for m in _PARTS.finditer(stem)]
    words = [word for word, _ in parts]
    likely = _keys(words, True)
    bpm = _bpm_with_word(stem) or _bpm_next_to_key(stem, parts, likely) or _bpm_before_loop(stem, parts)
    keys = {key for _, key in (likely if bpm else _keys(words, False)).values()}
    return bpm, keys.pop() if len(keys) == 1 else None


def _bpm_with_word(stem: str) -> float | None:
    for pattern in (_BEFORE, _AFTER):
        for match in pattern.finditer(stem):
            bpm = float(match[1].replace(",", "."))
            if 40 <= bpm <= 300:
                return bpm
    return None


def _keys(words: list[str], tempo_known: bool) -> dict[int, tuple[int, str]]:
    """Where the words name a key: place of the first, then that behind the last, and the key."""
    found = {}
    for i, word in enumerate(words):
        after = words[i + 1].lower() if i + 1 < len(words) else ""
        if re.fullmatch(_NOTE, word) and word[0].isupper() and after in ("min", "minor", "maj", "major"):
            if tempo_known or len(word) > 1 or (i and i + 2 == len(words)):  # "A Minor Inconvenience" is no key
                found[i] = i + 2, key_of(f"{word} {after}")
        elif _CLEAR_KEY.match(word) and (word != "Am" or (tempo_known and "I" not in words)):  # "Where I Am"
            found[i] = i + 1, key_of(word)
    return found


def _plain(stem: str, parts: list[tuple[str, int]], i: int) -> float | None:
    """Word ``i`` as a tempo without the word: 60 to 250, by itself, not a unit's number nor a machine's."""
    word, at = parts[i]
    if not re.fullmatch(_NUMBER, word) or not 60 <= float(word.replace(",", ".")) <= 250:
        return None
    if i + 1 < len(parts) and _UNITS.match(parts[i + 1][0]):
        return None
    if i and (parts[i - 1][0].lower() in _MACHINES or (stem[at - 1] == "-" and stem[at - 2 : at - 1] not in " _")):
        return None
    return float(word)


def _bpm_next_to_key(stem: str, parts: list[tuple[str, int]], keys: dict[int, tuple[int, str]]) -> float | None:
    places = {i - 1 for i in keys} | {end for end, _ in keys.values()}
    found = {bpm for i in places if 0 <= i < len(parts) and (bpm := _plain(stem, parts, i))}
    return found.pop() if len(found) == 1 else None


def _bpm_before_loop(stem: str, parts: list[tuple[str, int]]) -> float | None:
    """The one number that can be a tempo, with a loop's word somewhere behind it."""
    found = [(i, bpm) for i in range(len(parts)) if (bpm := _plain(stem, parts, i))]
    if len(found) != 1:
        return None
    (i, bpm), = found
    at = parts[i][1]
    apart = not i or stem[at - 1] == "_" or stem[:at].endswith(" - ")
    if not apart or (i and parts[i - 1][0].lower() in _COUNTED):
        return None
    return bpm if any(word.lower() in _LOOPS for word, _ in parts[i + 1 :]) else None
