"""Numbers as a person says them: durations, what was done to a file, and what a model will learn."""

from __future__ import annotations

import unicodedata

ONE_SHOT = 2.0  # seconds: a shorter file is called a one-shot
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn text around


def shown(text: str) -> str:
    """Any text as one that can be shown: what is no Unicode, no character or turns text around is spelt out."""
    if text.isascii() and text.isprintable():  # nearly all of a report's are, and it has many
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c not in _BIDI and unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp", "Co", "Cn")
                   else c.encode("unicode_escape").decode() for c in text)


def span(seconds: float) -> str:
    """A duration in the unit in which it is a handy number."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3597 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """A duration as a player shows it."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: float, whole: float) -> str:
    """A percentage that is 0 or 100 only if it is."""
    if not whole:
        return "0%"
    value = 100 * part / whole
    if 0 < value < 1:
        return "under 1%"
    return f"{min(value, 99) if part < whole else value:.0f}%"


def done(source: dict, target: str = "") -> list[str]:
    """What was done to a file, in the order in which it was.

    Args:
        source: see :mod:`data_prep.report.report`.
        target: the codec's rate, such as "32 kHz", for files at another.
    """
    if source["status"] != "kept":
        return [source["why"] or source["status"]]
    words = []
    if source.get("mix", "mid") != "mid":
        words.append(f"{source['mix']} of {source['channels']} taken, the others cancel it")
    elif source.get("channels", 1) > 1:
        words.append("mixed to mono")
    if target and f"{source.get('rate', 0) / 1000:g} kHz" != target:
        words.append(f"resampled from {source['rate'] / 1000:g} kHz")
    if abs(source.get("dc") or 0) >= 0.001:
        words.append("DC removed")
    if source.get("silence", 0) >= 0.05:
        words.append(f"{span(source['silence'])} of silence cut out")
    if abs(source.get("gain_db") or 0) >= 0.05:
        words.append(f"{source['gain_db']:+.1f} dB".replace("-", "−"))
    words.append(_cut(source))
    if source.get("variants"):
        words.append(count(source["variants"], "variant") + " made")
    return [word for word in words if word]


def _cut(source: dict) -> str:
    slices, how = source["slices"], source.get("cut", "")
    if how == "bars" and source.get("bars"):
        return f"cut into {count(slices, 'slice')} of {count(source['bars'], 'bar')}"
    if how == "onsets":
        return f"cut into {count(slices, 'one-shot')}"
    if how == "whole" and source["seconds"] >= ONE_SHOT:
        return "no sure beat, so not cut into bars"
    return f"in {count(slices, 'piece')}" if slices > 1 else "whole"


def headline(totals: dict, tempo: dict) -> list[str]:
    """What a model will learn from this, in a few plain sentences.

    Args:
        totals, tempo: of :func:`data_prep.report.numbers.Sums.totals` and ``.tempo``.
    """
    kept = totals["kept_seconds"]
    if not kept:
        return ["Nothing is kept: there is nothing to learn from."]
    lines = [f"{span(kept)} of sound from {count(totals['kept'], 'file')}, in {count(totals['slices'], 'slice')}."]
    lines.append(_tempo(tempo, kept))
    if totals["one_shots"] == totals["kept"]:
        lines.append("All of it is one-shots.")
    elif totals["one_shot_slices"]:
        lines.append(f"{share(totals['one_shot_slices'], totals['slices'])} of the slices are one-shots, "
                     f"{share(totals['one_shot_seconds'], kept)} of the time.")
    if totals["kept"] > 2 and totals["largest_seconds"] > kept / 3:
        lines.append(f"{share(totals['largest_seconds'], kept)} of it is one file, {shown(totals['largest'])}.")
    if keys := totals["keys"]:
        known = sum(seconds for _, seconds in keys)
        lines.append(f"Keys are known for {share(known, kept)} of it, most often {shown(keys[0][0])}.")
    valid = totals["valid"]["seconds"]
    lines.append(f"{share(valid, kept)} is held out to see how well it learns." if valid else
                 "Nothing is held out, so there is no telling whether it learns or learns by heart.")
    return [line for line in lines if line]


def _tempo(tempo: dict, kept: float) -> str:
    known = tempo["known_seconds"]
    if known < 0.05 * kept:
        return "Its tempo is not known." if not known else ""
    bands = [(part, f"{low:g} to {high:g} BPM ({share(part, known)})") for low, high, part in tempo["bands"]
             if part >= 0.1 * known]
    low, _, high = tempo["quartiles"]
    if bands and bands[0][0] >= 0.6 * known:
        words = f"mostly {bands[0][1]}"
    elif sum(part for part, _ in bands) >= 0.6 * known:
        words = " and ".join([", ".join(word for _, word in bands[:-1]), bands[-1][1]])
    else:
        words = f"spread, half of it from {low:.0f} to {high:.0f} BPM"
    guess = "; most of that is a guess" if tempo["sure_seconds"] < 0.5 * known else ""
    return ("The tempo is " if known > 0.9 * kept else f"Where a tempo is known ({share(known, kept)}), it is ") + (
        f"{words}{guess}.")
