"""MIDI files of any kind: what is written is read again, as mido reads it; lengths, pedals, bars, impossible values."""

import time
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi import time as midi_time
from audiocraft_ext.midi.file import BEND, CONTROL, NOTE, PROGRAM, BrokenMidi, Midi, parse, read, table
from audiocraft_ext.midi.notes import pair, programs_of, with_sustain
from audiocraft_ext.midi.write import to_bytes, write
from tests.midi.test_file import END, GROOVE, file, rows

FREEDOOM = sorted((Path(__file__).parents[1] / "data" / "midi").glob("*.mid"))  # five to eight channels each
FILES = [*FREEDOOM, *GROOVE[:4]]
LENGTHS = ("start", "end", "channel", "pitch", "velocity")


def random_midi(seed: int) -> Midi:
    """Anything that a file can say."""
    rng = np.random.default_rng(seed)
    tracks, ticks = int(rng.integers(1, 65)), int(rng.choice([500, 20_000, 2**29]))

    def ticks_of(n: int) -> np.ndarray:
        return np.sort(rng.integers(0, ticks, n))

    def events(dtype: np.dtype, *limits: tuple[int, int]) -> np.ndarray:
        n = int(rng.integers(0, 60))
        made = table(dtype, ticks_of(n), rng.integers(0, tracks, n), rng.integers(1, 17, n),
                     *(rng.integers(low, high + 1, n) for low, high in limits))
        return made[np.lexsort((made["track"], made["tick"]))]

    n = int(rng.integers(0, 300))
    start = ticks_of(n)
    notes = table(NOTE, start, start + rng.integers(0, 90, n) * rng.integers(0, 2, n), rng.integers(0, tracks, n),
                  rng.integers(1, 17, n) if rng.random() < 0.5 else 10, rng.integers(58, 63, n),
                  rng.integers(1, 128, n))
    notes = notes[np.lexsort((notes["track"], notes["pitch"], notes["start"]))]
    for key in {tuple(row) for row in notes[["track", "channel", "pitch"]].tolist()}:  # first in, first out
        same = (notes["track"] == key[0]) & (notes["channel"] == key[1]) & (notes["pitch"] == key[2])
        notes["end"][same] = np.maximum.accumulate(np.sort(notes["end"][same]))
    us = rng.integers(60_000, 6_000_000, 5)
    return Midi(notes, int(rng.integers(1, 0x8000)), [(int(t), 60e6 / int(one)) for t, one in zip(ticks_of(5), us)],
                [(int(t), int(rng.integers(1, 65)), 2 ** int(rng.integers(0, 7))) for t in ticks_of(4)],
                {int(track): f"track {track} ♪" for track in rng.integers(0, tracks, 3)}, ticks + 90, [],
                [(int(t), int(rng.integers(-7, 8)), bool(rng.integers(2))) for t in ticks_of(3)],
                events(PROGRAM, (0, 127)), events(CONTROL, (0, 127), (0, 127)), events(BEND, (-8192, 8191)), tracks)


def test_what_is_written_is_read_again():
    for seed in range(100):
        midi = random_midi(seed)
        data = to_bytes(midi)
        assert parse(data) == midi, seed
        assert to_bytes(parse(data)) == data


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_read_and_written_is_the_same(path, tmp_path):
    midi = read(path)
    assert len(midi.notes) and parse(to_bytes(midi)) == midi
    write(tmp_path / "x.mid", midi)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mid"] and told_by_mido(tmp_path / "x.mid") == told_by_mido(path)


def told_by_mido(path: Path) -> dict[str, list]:
    """The same of a file by another reader, first in, first out."""
    found: dict[str, list] = {name: [] for name in ("notes", "program_change", "control_change", "pitchwheel",
                                                    "set_tempo", "time_signature", "key_signature")}
    for track in mido.MidiFile(path).tracks:
        tick, sounding = 0, {}
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                sounding.setdefault((message.channel, message.note), []).append((tick, message.velocity))
            elif message.type in ("note_on", "note_off"):
                if waiting := sounding.get((message.channel, message.note)):
                    begin, velocity = waiting.pop(0)
                    found["notes"].append((begin, tick, message.channel + 1, message.note, velocity))
            elif message.type in found:
                found[message.type].append((tick, *(value for name, value in sorted(message.dict().items()) if name
                                                    not in ("time", "type", "clocks_per_click",
                                                            "notated_32nd_notes_per_beat"))))
        found["notes"] += [(begin, tick, channel + 1, note, velocity) for (channel, note), waiting in sounding.items()
                           for begin, velocity in waiting]
    return {name: sorted(events) for name, events in found.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_all_of_it_is_what_mido_reads(path):
    midi, other = read(path), told_by_mido(path)
    assert sorted(rows(midi, *LENGTHS)) == other["notes"]
    columns = {"program_change": (midi.programs, "program"), "pitchwheel": (midi.bends, "bend")}
    for name, (events, value) in columns.items():
        assert sorted(zip(events["tick"], events["channel"] - 1, events[value])) == other[name]
    controls = midi.controls
    assert other["control_change"] == sorted(
        zip(controls["tick"], controls["channel"] - 1, controls["number"], controls["value"]))
    assert [(tick, round(60e6 / bpm)) for tick, bpm in midi.tempos] == other["set_tempo"]
    assert sorted((tick, under, over) for tick, over, under in midi.meters) == other["time_signature"]
    assert len(midi.keys) == len(other["key_signature"])


def test_an_end_belongs_to_the_oldest_note_that_sounds():
    on, off = b"\x99\x24\x64", b"\x89\x24\0"
    midi = parse(file(b"\0" + off + b"\0" + on + b"\x10" + on + b"\x10" + off + b"\x10" + off + b"\x10" + off
                      + b"\x10" + on + b"\x10" + END[1:]))
    assert rows(midi, "start", "end") == [(0, 32), (16, 48), (80, 96)]  # ends too many, and one too few
    other = parse(file(b"\0" + on + b"\x10\x24\0" + END, b"\x08" + on + b"\0\x98\x24\0" + END))  # each track for itself
    assert rows(other, "start", "end", "track") == [(0, 16, 0), (8, 8, 1)]


def test_ends_are_found_as_a_plain_loop_finds_them():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(0, 40))
        key, on, tick = rng.integers(0, 3, n) * int(rng.choice([1, 50_000])), rng.random(n) < 0.5, np.arange(n)
        if seed % 2 and n:  # each begin with an end behind it
            key, on, tick = np.append(key, key), np.arange(2 * n) < n, np.arange(2 * n)
        last, waiting = np.full(len(key), 99), {}
        expected = last.copy()
        for i in range(len(key)):
            if on[i]:
                waiting.setdefault(key[i], []).append(i)
            elif waiting.get(key[i]):
                expected[waiting[key[i]].pop(0)] = tick[i]
        assert pair(key, tick, on, last).tolist() == expected.tolist()


def midi_of(notes: list[tuple], pedal: list[tuple] = (), end: int = 1000, **more) -> Midi:
    """Of (start, end, channel, pitch) and (tick, channel, value)."""
    start, stop, channel, pitch = np.array(notes).T
    controls = table(CONTROL, *np.array([(tick, 0, channel, 64, value) for tick, channel, value in pedal]).T) \
        if pedal else table(CONTROL)
    return Midi(table(NOTE, start, stop, 0, channel, pitch, 90), controls=controls, end=end, **more)


@pytest.mark.parametrize("note, pedal, end", [
    ((0, 100, 1, 60), [(50, 1, 127), (300, 1, 0)], 300), ((0, 100, 1, 60), [(50, 1, 64), (300, 1, 63)], 300),
    ((0, 100, 1, 60), [(50, 1, 63), (300, 1, 0)], 100), ((0, 100, 1, 60), [(50, 1, 127)], 1000),
    ((0, 100, 1, 60), [(50, 2, 127), (300, 2, 0)], 100), ((0, 100, 1, 60), [(50, 1, 127), (100, 1, 0)], 100),
    ((0, 100, 1, 60), [(100, 1, 127), (300, 1, 0)], 100), ((0, 100, 1, 60), [(50, 1, 127), (60, 1, 0)], 100),
    ((0, 100, 1, 60), [(50, 1, 127), (200, 1, 0), (200, 1, 127), (300, 1, 0)], 200),
    ((0, 0, 1, 61), [(0, 1, 127), (200, 1, 0)], 0), ((10, 10, 1, 61), [(0, 1, 127), (200, 1, 0)], 200)])
def test_the_sustain_pedal_holds_what_ends(note, pedal, end):
    midi = midi_of([note], pedal)
    held = with_sustain(midi)
    assert held.notes["end"].tolist() == [end] and not len(held.controls) and held == with_sustain(held)
    assert midi.notes["end"].tolist() == [note[1]] and len(midi.controls) == len(pedal), "what was given stays"


def test_a_held_note_ends_where_its_pitch_begins_anew():
    midi = midi_of([(0, 100, 1, 60), (0, 100, 1, 62), (0, 100, 2, 60), (200, 250, 1, 60)], [(50, 1, 127), (400, 1, 0)])
    assert with_sustain(midi).notes["end"].tolist() == [200, 400, 100, 400]
    volume = replace(midi, controls=table(CONTROL, 0, 0, 1, [7, 64], 127))
    assert with_sustain(volume).controls["number"].tolist() == [7]


def test_programs_of_notes():
    midi = midi_of([(0, 9, 1, 60), (100, 109, 1, 60), (150, 159, 2, 60), (199, 210, 1, 60)],
                   programs=table(PROGRAM, [100, 120, 200], [5, 0, 0], [1, 2, 1], [33, 7, 8]), tracks=6)
    assert programs_of(midi).tolist() == [0, 33, 7, 33]
    assert set(programs_of(read(FREEDOOM[0])).tolist()) <= set(read(FREEDOOM[0]).programs["program"].tolist()) | {0}


def test_seconds_over_a_change_of_tempo_inside_a_note():
    midi = midi_of([(0, 960, 1, 60)], tempos=[(0, 120.0), (480, 60.0)])
    assert midi.seconds(midi.notes["end"]).tolist() == [1.5]
    back = midi_time.ticks_at(np.array([0.25, 0.5, 1.5]), midi.tempos, 480)
    assert back.tolist() == [240, 480, 960]
    for path in FILES:
        midi = read(path)
        again = midi_time.ticks_at(midi.seconds(midi.notes["start"]), midi.tempos, midi.ticks_per_beat)
        assert again == pytest.approx(midi.notes["start"], abs=1e-6)


def test_bars_over_changes_of_time_signature():
    meters = [(960, 3, 4), (960 + 1440, 3, 4), (960 + 1500, 7, 8)]
    bar, beat = midi_time.bars(np.array([0, 480, 959, 960, 2399, 2400, 2459, 2460, 2460 + 1680 + 240]), meters, 480)
    assert bar.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 4]  # the first and the third are cut short
    assert beat == pytest.approx([0, 1, 959 / 480, 0, 1439 / 480, 0, 59 / 480, 0, 0.5])
    assert midi_time.bars(4 * 480, [], 480)[0] == 1


def test_a_gap_longer_than_an_event_can_wait():
    midi = midi_of([(0, 10, 1, 60), (2**31, 2**31 + 5, 1, 60)], end=2**33)
    assert parse(to_bytes(midi)) == midi


def test_pieces_of_a_file_in_film_time_are_in_beats():
    pedal, bend = b"\0\xb0\x40\x7f", b"\x64\xe0\x00\x40"
    midi = parse(file(b"\0\xc0\x05" + pedal + b"\0\x90\x24\x64" + bend + b"\0\x80\x24\0" + END,
                      division=(256 - 25) << 8 | 4))  # 100 ticks a second
    assert rows(midi, "start", "end") == [(0, 960)] and midi.bends["tick"].tolist() == [960]
    assert midi.bends["bend"].tolist() == [0] and parse(to_bytes(midi)).notes.tolist() == midi.notes.tolist()


@pytest.mark.parametrize("data, said", [
    (file(END, kind=2), "of type 2, patterns"), (file(END, division=0xE200), "division 57856"),
    (file(END, division=(256 - 26) << 8 | 4), "division")])
def test_what_is_refused_with_its_reason(data, said):
    with pytest.raises(BrokenMidi, match=said):
        parse(data)


@pytest.mark.parametrize("values, said", [
    ({"notes": table(NOTE, 0, 9, 0, 17, 60, 90)}, "channel 17, expected 1 to 16"),
    ({"notes": table(NOTE, 0, 9, 0, 1, 128, 90)}, "pitch 128"),
    ({"notes": table(NOTE, 0, 9, 0, 1, 60, 0)}, "velocity 0"),
    ({"notes": table(NOTE, -1, 9, 0, 1, 60, 1)}, "start -1"), ({"notes": table(NOTE, 9, 8, 0, 1, 60, 1)}, "before it"),
    ({"programs": table(PROGRAM, 0, 0, 1, 128)}, "program 128"), ({"bends": table(BEND, 0, 0, 1, 8192)}, "bend 8192"),
    ({"controls": table(CONTROL, 0, 0, 1, 64, 128)}, "value 128"),
    ({"tempos": [(0, 3.0)]}, "tempos from 3.6 BPM, got 3"), ({"meters": [(0, 3, 6)]}, "3/6"),
    ({"keys": [(0, 8, False)]}, "8 sharps"), ({"ticks_per_beat": 0x8000}, "32768 ticks")])
def test_what_no_file_can_say(values, said):
    with pytest.raises(UserError, match=said):
        to_bytes(Midi(**{"notes": table(NOTE)} | values))


def test_a_hundred_thousand_notes_that_never_end():
    begin = time.process_time()
    midi = parse(file(b"\0\x90\x24\x64" + b"\0\x24\x64" * 99_999 + b"\x10" + END[1:]))
    assert (midi.notes["end"] == midi.end).all() and parse(to_bytes(midi)) == midi
    assert time.process_time() - begin < 5
