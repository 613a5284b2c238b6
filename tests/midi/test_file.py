"""MIDI files as DAWs write them, as mido reads them, and as nobody should have written them."""

import struct
import time
from pathlib import Path

import mido
import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.midi import drums_of, stretches, to_bytes, write
from audiocraft_ext.midi.file import BrokenMidi, Midi, parse, read
from tests.helpers.odd_midi import FAULTS

GROOVE = sorted((Path(__file__).parents[1] / "data" / "groove").glob("*.mid"))
END = b"\0\xff\x2f\0"
KICK = b"\0\x99\x24\x64"  # at once, on channel 10
COLUMNS = ("start", "channel", "pitch", "velocity")


def file(*tracks: bytes, kind: int = 1, division: int = 96) -> bytes:
    return struct.pack(">4sIHHH", b"MThd", 6, kind, len(tracks), division) + b"".join(
        b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


def rows(midi: Midi, *names: str) -> list[tuple[int, ...]]:
    """Of its notes."""
    return list(zip(*(midi.notes[name].tolist() for name in names)))


def by_mido(path: Path) -> list[tuple[int, ...]]:
    out = []
    for track in mido.MidiFile(path).tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                out.append((tick, message.channel + 1, message.note, message.velocity))
    return sorted(out)


def test_notes_and_times_are_those_that_mido_reads():
    for path in GROOVE:
        midi = read(path)
        assert sorted(rows(midi, *COLUMNS)) == by_mido(path)
        seconds, last = mido.MidiFile(path).length, int(midi.end)
        assert float(midi.seconds(last)) == pytest.approx(seconds, rel=1e-9)


def test_what_is_written_is_what_mido_reads(tmp_path):
    rng = np.random.default_rng(3)
    notes = np.stack([rng.integers(-10, 3000, 200), rng.integers(30, 60, 200), rng.integers(1, 128, 200)], 1)
    clip = DrumClip(np.concatenate([notes, notes[:50]]), 480, 174.0, (7, 8), bars=4)
    write(tmp_path / "x.mid", clip)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mid"]
    midi = mido.MidiFile(tmp_path / "x.mid")  # strict: values out of range raise
    assert (midi.type, len(midi.tracks), midi.ticks_per_beat) == (0, 1, 480)
    track, tick, sounding = midi.tracks[0], 0, {}
    tempo, meter = track[0], track[1]
    assert mido.tempo2bpm(tempo.tempo) == pytest.approx(174, abs=0.001)
    assert (meter.numerator, meter.denominator) == (7, 8)
    written = set()
    for message in track[2:-1]:
        tick += message.time
        assert message.channel == 9
        if message.type == "note_on":
            assert message.note not in sounding, "a note that sounds must end before it sounds again"
            sounding[message.note] = tick
            written.add((tick, message.note, message.velocity))
        else:
            assert 0 < tick - sounding.pop(message.note) <= 60
    assert not sounding and tick + track[-1].time == 4 * 7 * 240
    loudest: dict = {}
    for tick, pitch, velocity in notes.tolist():
        loudest[max(tick, 0), pitch] = max(velocity, loudest.get((max(tick, 0), pitch), 0))
    assert written == {(*at, velocity) for at, velocity in loudest.items()}


@pytest.mark.parametrize("bpm, meter", [(3.0, (4, 4)), (1e9, (4, 4)), (120.0, (3, 6)), (120.0, (300, 4))])
def test_what_no_file_can_say(bpm, meter):
    with pytest.raises(UserError, match="MIDI file"):
        to_bytes(DrumClip([[0, 36, 1]], bpm=bpm, meter=meter))


def test_running_status_zero_length_notes_and_both_kinds_of_off():
    track = KICK + b"\0\x24\0" + b"\x10\x26\x50" + b"\0\x89\x26\0" + b"\x81\0\x99\x2a\x01" + END  # 0x81 0x00 is 128
    midi = parse(file(track, kind=0))
    assert rows(midi, *COLUMNS, "end") == [(0, 10, 36, 100, 0), (16, 10, 38, 80, 16), (144, 10, 42, 1, 144)]
    assert (midi.ticks_per_beat, midi.tempos, midi.meters, midi.end) == (96, [], [], 144)


def test_what_is_stepped_over():
    events = (b"\0\xf0\x03\x01\x02\xf7", b"\0\xf7\x01\x05", b"\0\xff\x01\x03abc", b"\0\xc9\x05", b"\0\xd9\x05",
              b"\0\xe9\x05\x06", b"\0\xb9\x04\x7f", b"\0\xa9\x24\x10")
    midi = parse(file(b"".join(events) + KICK + END + b"\xff\xff behind the end"))
    assert len(midi.notes) == 1
    other = b"XFIH" + struct.pack(">I", 4) + b"what"
    data = file(KICK + END)
    assert len(parse(data[:14] + other + data[14:] + b"rest").notes) == 1
    wide = struct.pack(">4sIHHH", b"MThd", 8, 1, 1, 96) + b"xx" + data[14:]
    assert len(parse(wide).notes) == 1


def test_tracks_come_together_in_time():
    tempo = b"\0\xff\x51\x03\x07\xa1\x20" + b"\x60\xff\x51\x03\x03\xd0\x90" + END  # 120, after a beat 240
    midi = parse(file(tempo, b"\x60\x99\x24\x64" + END, KICK + b"\x83\x00\x99\x24\x01" + END))
    assert rows(midi, "start", "track") == [(0, 2), (96, 1), (384, 2)]
    assert midi.seconds(np.array([0, 48, 96, 192, 384])).tolist() == [0, 0.25, 0.5, 0.75, 1.25]
    (part,), _ = stretches(midi, drums_of(midi)[0], DrumGrid())
    assert part.clip.bars == 2 and part.clip.bpm == pytest.approx(8 / (0.5 + 7 * 0.25) * 60)


def test_film_time_becomes_beats_by_the_tempo():
    tempo = b"\0\xff\x51\x03\x0f\x42\x40"  # 60
    midi = parse(file(tempo + KICK + b"\x87\x68\x99\x24\x64" + b"\0\xff\x51\x03\x07\xa1\x20" + b"\x87\x68\x99\x24\x64"
                      + END, division=(256 - 25) << 8 | 40))  # 1000 ticks a second
    assert midi.notes["start"].tolist() == [0, 480, 480 + 960] and midi.end == 1440
    assert midi.seconds(1440) == pytest.approx(2.0)


def test_tempos_and_meters_that_nobody_believes():
    tempos = b"\0\xff\x51\x03\0\0\0" + b"\0\xff\x51\x03\0\0\1"
    meters = b"\0\xff\x58\x04\0\2\x18\x08" + b"\0\xff\x58\x04\4\x40\1\1"
    midi = parse(file(tempos + meters + KICK + END))
    assert not midi.tempos and not midi.meters and len(midi.remarks) == 2


@pytest.mark.parametrize("data, said", [
    (b"", "is empty"), (b"RIFF....", "is not a MIDI file, it begins with b'RIFF'"), (b"MThd\0\0", "inside its header"),
    (file(KICK + END, division=0), "makes no sense"), (file(KICK + END, kind=3), "makes no sense"),
    (file(KICK + END, kind=2), "type 2"), (file(KICK + END, division=0xF000), "makes no sense"),
    (file()[:14], "ends after 0 of its 0 tracks"), (file(KICK[:3]), "ends inside an event"),
    (file(b"\0\x24\x64" + END), "values without an event"), (file(b"\0\xf4\x64" + END), "an event 0xf4"),
    (file(b"\0\x99\xa4\x64" * 9 + END), "has 9 values above 127 in 9 events.* is 164"),
    (file(b"\x8f\xff\xff\xff\x7f\x99\x24\x64" + END), r"more than four bytes .* \(a negative time\?\)"),
    (file(b"\xff\xff\xff\x7f\x99\x24\x64" + END), "steps back in time"),
    (file(b"\0\xff\x01\x7fabc" + END), "ends inside an event of track 1"),
    (file(b"\0\x99\x24", KICK + END), "goes on behind track 1"),
    (file(b"\xf0\x80\x80\x00\x99\x24\x64" * 10_000 + END), "goes on for")])
def test_what_is_no_file(data, said, tmp_path):
    with pytest.raises(BrokenMidi, match=said):
        parse(data)
    (tmp_path / "x.mid").write_bytes(data)
    with pytest.raises(BrokenMidi, match=r"x\.mid: "):
        read(tmp_path / "x.mid")


@pytest.mark.parametrize("name, notes, said", [
    ("count_too_low.mid", 32, "counts 1 track, it has 2"), ("count_too_high.mid", 32, "counts 9 tracks, it has 2"),
    ("junk_between.mid", 32, "8 bytes between its tracks"), ("track_length_0.mid", 16, "size of track 1 is wrong"),
    ("rmid.rmi", 16, ""), ("clock_inside.mid", 16, "1 message that no file may have"),
    ("end_inside.mid", 16, "track 1 has an end before its last 56 bytes"),
    ("controller_168.mid", 16, "1 message that no file may have")])
def test_a_fault_costs_what_is_wrong_and_is_remarked(name, notes, said):
    midi = parse(FAULTS[name])
    assert len(midi.notes) == notes and len(midi.remarks) == bool(said) and said in "".join(midi.remarks)
    assert set(midi.notes["pitch"].tolist()) == {36, 38}


@pytest.mark.parametrize("odd", [b"\0\xf8", b"\0\xfe", b"\0\xf1\x05", b"\0\xf2\x05\x06", b"\0\xf3\x07", b"\0\xf6",
                                 b"\0\xb9\x07\xa8", b"\0\xb9\xa8\x07", b"\0\xe9\0\x90", b"\0\xc9\x80", b"\0\xd9\xff",
                                 b"\0\xa9\x24\x80", b"\0\x99\x24\x80"])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_bad_message_costs_itself(odd, at):
    """Wherever it stands: before, between and behind the notes, with running status after it or not."""
    good = [KICK, b"\x10\x99\x26\x50", b"\x20\x99\x2a\x40"]
    midi, whole = parse(file(b"".join([*good[:at], odd, *good[at:]]) + END)), parse(file(b"".join(good) + END))
    assert rows(midi, *COLUMNS, "end") == rows(whole, *COLUMNS, "end")
    assert len(midi.remarks) == 1 and not whole.remarks


def test_wrong_counts_sizes_and_junk_cost_no_track():
    tracks = [KICK + END, b"\x60\x99\x26\x64" + END, b"\x60\x99\x2a\x64" + END]
    good = file(*tracks)
    wanted, starts = parse(good), [i for i in range(len(good)) if good[i : i + 4] == b"MTrk"]
    for count in (0, 1, 2, 4, 65535):
        midi = parse(good[:10] + struct.pack(">H", count) + good[12:])
        assert rows(midi, *COLUMNS) == rows(wanted, *COLUMNS) and f"counts {count} track" in midi.remarks[0]
    for track, start in enumerate(starts):
        for size in (0, 1, 7, 9, 40, 2**31, 2**32 - 1):
            midi = parse(good[: start + 4] + struct.pack(">I", size) + good[start + 8 :])
            assert rows(midi, *COLUMNS) == rows(wanted, *COLUMNS)
            assert f"size of track {track + 1} is wrong" in midi.remarks[0]
        for junk in (b"\x85\0\xff\x51\3\7\xa1\x20", bytes(3), b"\xff" * 1000):
            midi = parse(good[:start] + junk + good[start:])
            assert rows(midi, *COLUMNS) == rows(wanted, *COLUMNS) and f"{len(junk)} bytes between" in midi.remarks[0]


def test_of_a_file_that_is_cut_what_is_there_is_read_and_remarked():
    good = file(KICK + END, b"\x60\x99\x26\x64\x60\x99\x2a\x64" + END)
    whole = rows(parse(good), *COLUMNS)
    for length in range(26, len(good)):
        midi = parse(good[:length])
        assert rows(midi, *COLUMNS) == whole[: len(midi.notes)] and midi.remarks, length
    assert len(parse(good[:-1]).notes) == 3 and "ends inside track 2, 1 bytes too early" in parse(good[:-1]).remarks[0]


def test_a_file_inside_another_is_unwrapped():
    good = file(KICK + END)
    head = b"RIFF" + struct.pack("<I", len(good) + 24) + b"RMIDLIST" + struct.pack("<I", 3) + b"abc\0data"
    riff = head + struct.pack("<I", len(good)) + good + b"DISP" + struct.pack("<I", 4) + b"what"
    assert rows(parse(riff), *COLUMNS) == rows(parse(good), *COLUMNS) and not parse(riff).remarks
    assert parse(bytes(128) + good).remarks == ["its first 128 bytes are no MIDI, left out"]
    assert "another MIDI file begins" in parse(good + good).remarks[0]


def on(channel: int, name: str = "") -> bytes:
    told = b"\0\xff\x03" + bytes([len(name)]) + name.encode() if name else b""
    return told + bytes([0, 0x90 + channel - 1, 36, channel]) + END


@pytest.mark.parametrize("tracks, channel, taken, said", [
    ([on(1), on(10)], None, [10], ""), ([on(1), on(10)], 1, [1], ""), ([on(1), on(10)], 0, [1, 10], ""),
    ([on(3), on(3)], None, [3, 3], "the only one used"), ([on(1, "Bass"), on(2, "Drum Kit")], None, [2], "Drum Kit"),
    ([on(1, "Bass"), on(2, "TR-808")], None, [2], "TR-808"), ([on(1, "808 kit")], None, [1], "called 808 kit"),
    ([on(1, "Piano")], None, [1], "100% of its notes at pitches of kick")])
def test_which_notes_are_drums(tracks, channel, taken, said):
    notes, told = drums_of(parse(file(*tracks)), channel)
    assert notes[:, 2].tolist() == taken and said in told and bool(said) == bool(told)


@pytest.mark.parametrize("tracks, channel, said", [
    ([END], None, "has no notes"), ([on(1), on(2, "Offbeat bass")], None, "channels 1, 2, none of which is known"),
    ([on(1), on(2)], 5, "no notes on channel 5, but on channels 1, 2")])
def test_no_telling_which_notes_are_drums(tracks, channel, said):
    with pytest.raises(BrokenMidi, match=said):
        drums_of(parse(file(*tracks)), channel)


def test_a_piano_is_taken_for_drums_only_where_somebody_says_so():
    piano = parse(FAULTS["piano_ch1.mid"])
    with pytest.raises(BrokenMidi, match=r"channel 1 only, which do not look like drums \(.*%.*\); say --channel 1 if"):
        drums_of(piano)
    assert len(drums_of(piano, 1)[0]) == len(drums_of(piano, 0)[0]) == 256


def test_melodies_do_not_look_like_drums():
    """But for a bass now and then, in whose range kicks and snares lie; of 1,208 parts it is 4%, see docs/DRUMS.md."""
    looks = []
    for path in (Path(__file__).parents[1] / "data" / "midi").glob("*.mid"):
        notes = read(path).notes
        for channel in set(notes["channel"].tolist()) - {10}:  # each by itself
            try:
                looks.append(bool(drums_of(Midi(notes[notes["channel"] == channel]))[1]))
            except BrokenMidi:
                looks.append(False)
    assert len(looks) > 8 and sum(looks) <= 0.25 * len(looks)


def test_drums_on_another_channel_look_like_drums():
    looks = 0
    for path in GROOVE:
        midi = read(path)
        midi.notes["channel"] = 1
        midi.names = {}
        try:
            looks += "the only one used, " in drums_of(midi)[1]
        except BrokenMidi:
            pass
    assert looks >= 0.8 * len(GROOVE)


def test_time_signatures_follow_each_other():
    """A bar of 3/4, then 7/8 from there on."""
    three, seven = b"\0\xff\x58\x04\3\2\x18\x08", b"\x82\x1c\xff\x58\x04\7\3\x18\x08"  # 284 of 288 ticks
    track = three + KICK + seven + KICK + b"\x04\x99\x24\x65" + END
    midi = parse(file(track))
    assert midi.meters == [(0, 3, 4), (284, 7, 8)]
    parts, lost = stretches(midi, drums_of(midi)[0], DrumGrid())
    assert [(p.start, p.clip.meter, p.clip.bars, len(p.clip.notes)) for p in parts] == [
        (0, (3, 4), 1, 1), (284, (7, 8), 1, 2)]
    assert lost == ["a bar of 3/4 ends early at another time signature, it is filled up"]
    parts, lost = stretches(midi, drums_of(midi)[0], DrumGrid(steps=12))
    assert len(parts) == 1 and "a bar of 7/8 does not end on a step" in lost[1]


def test_an_early_hit_belongs_to_the_bar_that_it_begins():
    track = b"\0\xff\x58\x04\4\2\x18\x08" + KICK + b"\x82\x7c\x99\x24\x65" + b"\x04\xff\x58\x04\3\2\x18\x08" + END
    midi = parse(file(track))  # 4 of 96 ticks before the 3/4
    parts, lost = stretches(midi, drums_of(midi)[0], DrumGrid())
    assert not lost and [p.clip.notes.tolist() for p in parts] == [[[0, 36, 100]], [[-4, 36, 101]]]


def test_24_hours_and_a_hundred_thousand_notes_at_once():
    begin = time.process_time()
    day = b"".join([KICK, b"\xa7\xca\xd2\x40\x99\x24\x64", END])  # 83 million ticks of a 480th at 120 BPM
    midi = parse(file(day, division=480))
    assert midi.seconds(midi.end) == pytest.approx(86400, rel=0.01)
    (part,), _ = stretches(midi, drums_of(midi)[0], DrumGrid())
    assert DrumGrid().cost(part.clip).kept == 2
    many = parse(file(KICK + b"\0\x24\x64" * 99_999 + END))
    (part,), _ = stretches(many, drums_of(many)[0], DrumGrid())
    assert DrumGrid().cost(part.clip).merged == 99_999
    assert time.process_time() - begin < 5


def test_damaged_files_are_read_or_refused():
    """200 of them: a bit turned, a byte written over, a piece cut out, the end cut off."""
    begin, grid, refused = time.process_time(), DrumGrid(), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = bytearray(GROOVE[seed // 4 % len(GROOVE)].read_bytes())
        for _ in range(int(rng.integers(1, 20))):
            at = int(rng.integers(len(data) if seed % 3 else min(100, len(data))))
            what = seed % 4
            if what == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif what == 1:
                data[at] = int(rng.integers(256))
            elif what == 2:
                del data[at : at + int(rng.integers(1, 9))]
            else:
                del data[max(at, 20) :]
                break
        try:
            midi = parse(bytes(data))
            for part in stretches(midi, drums_of(midi)[0], grid)[0]:
                assert grid.cost(part.clip).kept <= len(midi.notes)
        except BrokenMidi:
            refused += 1
    assert 50 < refused < 200
    assert time.process_time() - begin < 5
