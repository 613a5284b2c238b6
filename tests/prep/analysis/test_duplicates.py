"""Planted copies of the breaks that ship are found, and nothing is taken for a copy that is none."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.sound import files as sound_files
from benchmarks.prep import duplicates as damage
from benchmarks.prep.duplicates import RATE, item
from data_prep.audio.analysis.fingerprint import VERSION, Fingerprinter, take_apart
from data_prep.audio.duplicates.alignment import TONES_OFF, heads_agree, tones_off
from data_prep.audio.duplicates.find import Item, find
from data_prep.shared.groups import COPY, EXACT, OVERLAP, Group, Link, grouped, superseded

BREAKS = Path(__file__).parents[3] / "data_prep" / "breaks"
PLANTED = ["cc0/arovane_beat_c", "cc0/loop_breakbeat", "cc0/loop_drone_g_97", "cc0/loop_industrial", "cc0/loop_perc1",
           "cc0/loop_tabla"]  # drums, a drone, noise, 0.9 to 10.7 s


@cache
def sound(name: str, seconds: float = 20) -> np.ndarray:
    path = next(BREAKS.glob(f"{name}.*"))
    return sound_files.read(path, RATE)[: round(seconds * RATE)]


@cache
def originals() -> tuple[Item, ...]:
    return tuple(item(name, sound(name)) for name in
                 sorted(str(path.relative_to(BREAKS).with_suffix("")) for path in BREAKS.glob("*/*.[fo]*")))


def relations(items) -> dict[tuple[str, str], str]:
    return {(link.a, link.b): link.relation for group in find(items) for link in group.links}


def hit(kind: str, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(int(0.25 * RATE)) / RATE
    if kind == "kick":
        return np.sin(2 * np.pi * (50 * t + 4 * (1 - np.exp(-30 * t)))) * np.exp(-14 * t)
    return rng.normal(size=len(t)) * np.exp(-40 * t)


def played(times, hits, seconds: float) -> np.ndarray:
    wav = np.zeros(round(seconds * RATE) + RATE)
    for time, sample in zip(times, hits):
        wav[round(time * RATE):][: len(sample)] += sample
    return (0.5 * wav[: round(seconds * RATE)]).astype(np.float32)


def test_no_two_of_the_breaks_are_taken_for_the_same():
    assert len(originals()) == 28 and relations(originals()) == {}


@pytest.mark.parametrize("kind", damage.DAMAGES)
def test_planted_copies_are_found_and_nothing_else(kind):
    planted = [item(f"{name} again", damage.DAMAGES[kind](sound(name))) for name in PLANTED
               if kind != damage.CUT or len(sound(name)) > RATE]
    found = relations([*originals(), *planted])
    assert found == {(copy.name.removesuffix(" again"), copy.name): COPY for copy in planted}


def test_a_part_of_a_track_overlaps_it_and_so_do_two_cuts():
    track = sound("bsd2/parsec47_ptn2", 60)
    items = [item("first", track[: 22 * RATE]), item("second", track[18 * RATE:]),
             item("part", damage.DAMAGES["MP3 128k"](track[30 * RATE + 777: 33 * RATE]))]
    others = [other for other in originals() if "parsec47_ptn2" not in other.name]
    found = relations([*others, *items])  # a part is in "first" too: the music repeats itself
    assert found.items() >= {("first", "second"): OVERLAP, ("part", "second"): OVERLAP}.items()
    assert {name for pair in found for name in pair} == {"first", "part", "second"} and COPY not in found.values()


def test_a_repeated_loop_overlaps_the_loop():
    loop = sound("cc0/loop_breakbeat")
    assert relations([item("loop", loop), item("8 times", np.tile(loop, 8))]) == {("8 times", "loop"): OVERLAP}


def test_a_loop_in_another_order_or_with_another_end_is_no_copy():
    loop, other = sound("cc0/arovane_beat_c"), sound("cc0/loop_tabla")
    n = len(loop)
    found = relations([item("a", loop), item("b", np.concatenate([loop[n // 2:], loop[: n // 2]])),
                       item("c", np.concatenate([loop[: 3 * n // 4], other[: n - 3 * n // 4]]))])
    assert COPY not in found.values() and found["a", "b"] == found["a", "c"] == OVERLAP


def note(cents: float) -> np.ndarray:
    """Above A2."""
    t = np.arange(2 * RATE) / RATE
    return sum(np.sin(2 * np.pi * 110 * 2 ** (cents / 1200) * k * t) / k for k in (1, 2, 3, 4)) * np.exp(-2 * t) / 4


@pytest.mark.parametrize("cents", [17, -17, 50, -50, 100])
def test_heads_tell_a_quarter_tone_from_varispeed(cents):
    one, other = (take_apart(damage.fingerprint(np.float32(note(c)))).heads[0] for c in (0, cents))
    assert (tones_off(one, other) <= TONES_OFF) == (abs(cents) < 20)


def test_what_is_common_links_nothing():
    """Silence, tones, hum, a metronome, one kick in two songs, two takes of one groove, neighbouring notes."""
    rng = np.random.default_rng(1)
    t = np.arange(8 * RATE, dtype=np.float32) / RATE
    kick, snare = hit("kick", rng), hit("snare", rng)
    tom, hat = np.roll(kick, 900) * np.linspace(0, 1, len(kick)), np.diff(snare, append=0)[:2000] / 3
    click = np.sin(2 * np.pi * 1000 * t[:800]) * np.exp(-t[:800] * 200)
    song = sound("cc0/arovane_beat_a"), sound("cc0/arovane_beat_e")
    metronome = played(np.arange(0, 8, 0.5), [click] * 16, 8)

    def take() -> np.ndarray:
        """Sixteenths on one sampled kit, as evenly as a person plays them."""
        pattern = [(kick, snare, tom, hat)["ksth".index(c)] for c in "khhhshkhkthhshht" * 4]
        return played(np.abs(np.arange(64) / 8 + rng.normal(0, 0.012, 64)),
                      [sample * rng.uniform(0.5, 1) for sample in pattern], 8)

    sounds = {"silence": 0 * t, "more silence": 0 * t[: 3 * RATE], "tone": np.sin(2 * np.pi * 440 * t) / 2,
              "longer tone": np.sin(2 * np.pi * 440 * np.arange(12 * RATE) / RATE) / 3,
              "hum": np.sign(np.sin(2 * np.pi * 50 * t)) / 8,
              "quiet hum": np.sign(np.sin(2 * np.pi * 50 * t[: 5 * RATE])) / 9,
              "click and song": np.concatenate([metronome, song[0]]),
              "click and another": np.concatenate([metronome, song[1]]),
              "kicks": played(np.arange(0, 8, 0.5), [kick] * 16, 8) + sound("bsd2/noiz2sa_stg0", 8) / 2,
              "same kicks": played(np.arange(0, 8, 0.5), [kick] * 16, 8) + sound("bsd2/parsec47_ptn0", 8) / 2,
              "take 1": take(), "take 2": take(), "A2": note(0), "A#2": note(100), "snare": snare,
              "another snare": hit("snare", rng)}
    assert relations([item(name, np.float32(wav)) for name, wav in sounds.items()]) == {}


def test_exact_needs_no_fingerprint_and_the_order_does_not_matter():
    loop = originals()[5]
    items = [Item("b.flac", "x", loop.fingerprint, 1), Item("a.wav", "x", loop.fingerprint, 1),
             Item("c", "y", np.zeros(0, np.uint32), 0.01), Item("d", "y", np.zeros(0, np.uint32), 0.01),
             item("e.mp3", damage.DAMAGES["MP3 64k"](sound(loop.name)))]
    groups = find(items)
    assert groups == find(items[::-1]) == find(iter(items[2:] + items[:2]))
    assert [group.names for group in groups] == [("a.wav", "b.flac", "e.mp3"), ("c", "d")]
    assert [(link.a, link.b, link.relation) for link in groups[0].links] == [
        ("a.wav", "b.flac", EXACT), ("a.wav", "e.mp3", COPY)]
    assert superseded(groups[0], ["b.flac", "a.wav", "e.mp3"]) == {"a.wav": "b.flac", "e.mp3": "b.flac"}


def test_a_copy_of_a_copy_goes_only_with_what_it_is_a_copy_of():
    links = [Link("a", "b", COPY, 1, 9), Link("b", "c", COPY, 1, 9), Link("c", "d", OVERLAP, 1, 3)]
    group = Group(("a", "b", "c", "d"), tuple(links))
    assert superseded(group, ["a", "b", "c", "d"]) == {"b": "a"}
    assert superseded(group, ["b", "d", "c", "a"]) == {"a": "b", "c": "b"}


def test_a_break_in_many_tracks_drops_none_of_them():
    loop = sound("cc0/loop_breakbeat")
    names = [o.name for o in originals()[:12]]
    tracks = [item(f"with {name}", np.concatenate([sound(name, 5), np.tile(loop, 2)])) for name in names]
    (group,) = find(tracks)
    assert len(group.names) == len(names) and {link.relation for link in group.links} == {OVERLAP}
    assert superseded(group, group.names) == {}


def takes(count: int, rng: np.random.Generator, decay: float = 0.0, noise: float = 0.01) -> list[Item]:
    t = np.arange(RATE // 4) / RATE
    return [item(f"take {n:03}", np.float32(
        0.6 * hit("kick", rng) * np.exp(-decay * rng.random() * t) + noise * hit("snare", rng))) for n in range(count)]


def test_many_takes_of_one_hit_are_each_compared_with_few():
    items = takes(300, np.random.default_rng(2))
    (group,) = find(items)
    assert len(group.names) == 300 and len(group.links) < 2 * 300
    assert group.others.heads.compared < 3 * 300
    best_first = group.names[::-1]  # the best is not the one that all were compared with
    assert superseded(group, best_first) == dict.fromkeys(best_first[1:], best_first[0])
    assert group.others.heads.compared < 5 * 300


def test_what_is_kept_of_takes_is_as_if_all_were_compared():
    items = takes(40, np.random.default_rng(3), decay=30)  # neighbours are copies, the ends are none
    groups, prints = find(items), [take_apart(item.fingerprint) for item in items]
    assert groups == find(items[::-1])
    links = [Link(a.name, b.name, COPY, 1, 1) for i, a in enumerate(items) for j, b in enumerate(items)
             if i < j and heads_agree(prints[i], prints[j])]
    full = grouped(links)
    assert [group.names for group in groups] == [group.names for group in full]
    assert sum(len(group.links) for group in groups) < len(links) < 40 * 39 / 2
    for seed in range(5):
        for group, other in zip(groups, full):
            best_first = np.random.default_rng(seed).permutation(group.names).tolist()
            gone = superseded(group, best_first)
            assert gone == superseded(other, best_first)
            assert len(gone) < len(group.names) - 1


@pytest.mark.parametrize("rate", [16_000, 32_000, 48_000])
def test_blocks_of_any_size_make_the_same_print(rate):
    wav = damage.resampled(sound("cc0/arovane_beat_c"), RATE, rate)
    wav = np.concatenate([np.zeros(3 * rate, np.float32), wav, np.zeros(3 * rate, np.float32)])[: 12 * rate]
    prints = []
    for size in (len(wav), 1000, 77_777):
        listener = Fingerprinter(rate)
        for begin in range(0, len(wav), size):
            listener.push(wav[begin: begin + size])
        prints.append(listener.result())
    assert all(np.array_equal(prints[0], other) for other in prints[1:])
    assert len(take_apart(prints[0]).frames) < 10 * len(wav) / rate


def test_words_say_where_anchors_are_after_any_pause():
    click = sound("cc0/loop_breakbeat", 0.3)
    pause = np.zeros(4 * RATE, np.float32)
    frames = take_apart(damage.fingerprint(np.concatenate([pause, click, pause, click]))).frames
    first, second = frames[frames < 700], frames[frames >= 700]
    assert abs(first[0] - 400) <= 2 and set(second - first) == {430}


def test_silence_and_nothing_have_no_words_and_other_versions_are_refused():
    assert len(damage.fingerprint(np.zeros(0, np.float32))) == len(damage.fingerprint(np.zeros(RATE, np.float32))) == 0
    with pytest.raises(ValueError, match=f"version {VERSION}"):
        take_apart(np.array([VERSION + 1 << 24], np.uint32))
