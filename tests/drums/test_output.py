"""Beats as files: legal MIDI from any codes, sound that loops, and nothing lost of what was there."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.midi import drums_of, stretches
from audiocraft_ext.drums.play import render
from audiocraft_ext.drums.play.beat import Beat
from audiocraft_ext.drums.play.output import Output, place, save, tracks
from audiocraft_ext.drums.play.sidecar import read
from audiocraft_ext.midi import file as midifile
from audiocraft_ext.midi import soundfont
from audiocraft_ext.midi.kit import DEFAULT

RATE = 44_100
GRID = DrumGrid()
KICK, SNARE, OPEN, CRASH = 36, 38, 46, 49
STEM = "drums_funk_seed5_0_120bpm"


def recipe(**other) -> dict:
    return {"bundle": "drums", "seed": 5, "bpm": 120.0, "said": {"genre": "funk"}} | other


def beat(clip: DrumClip, codes: np.ndarray | None = None, **other) -> Beat:
    codes = np.zeros((24, 16 * clip.bars), np.int64) if codes is None else codes
    names = {one.write: one.name for one in GRID.drums.classes}
    return Beat(codes, clip, 0, recipe(bpm=clip.bpm, **other), names, {"measured": {"density": 0.5}})


def hits(*notes: tuple[int, int, int], bars: int = 1, bpm: float = 120.0) -> Beat:
    """(sixteenth, pitch, velocity) ..."""
    return beat(DrumClip([(at * 120, pitch, velocity) for at, pitch, velocity in notes], bpm=bpm, bars=bars))


def any_beat(seed: int, steps: int = 16, meter: tuple[int, int] = (4, 4), bars: int = 2) -> tuple[DrumGrid, Beat]:
    """Of any codes that a model may sample."""
    grid, rng = DrumGrid(steps=steps), np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, bars * grid.steps_per_bar(meter)) for size in grid.sizes])
    codes[:12] *= rng.random(codes[:12].shape) < rng.choice([0.05, 0.5, 1])
    codes[12:][codes[:12] == 0] = grid.on_step
    return grid, beat(grid.decode(codes, rng.uniform(20, 400), meter), codes)


def by_mido(path: Path) -> tuple[mido.MidiFile, list[tuple[int, int, int]], int]:
    """The file, its hits (tick, pitch, velocity) with all that must hold of them, and its length in ticks."""
    midi = mido.MidiFile(path)  # strict: values out of range raise
    assert (midi.type, len(midi.tracks)) == (0, 1) and midi.ticks_per_beat >= 96
    tick, sounding, found = 0, set(), []
    for message in midi.tracks[0]:
        assert message.time >= 0
        tick += message.time
        if message.is_meta:
            continue
        assert message.channel == 9
        if message.type == "note_on":
            assert message.velocity and message.note not in sounding
            sounding.add(message.note)
            found.append((tick, message.note, message.velocity))
        else:
            assert message.type == "note_off"
            sounding.remove(message.note)
    assert not sounding and midi.tracks[0][-1].type == "end_of_track"
    return midi, found, tick


@pytest.mark.parametrize("steps, meter", [
    (16, (4, 4)), (24, (4, 4)), (48, (3, 4)), (32, (7, 8)), (12, (6, 8)), (16, (5, 4))
])
def test_any_codes_are_a_legal_file_and_come_back(tmp_path, steps, meter):
    for seed in range(6):
        grid, one = any_beat(seed, steps, meter)
        path, beside = save(one, tmp_path / str(seed))
        midi, found, end = by_mido(path)
        bar = 480 * 4 * meter[0] // meter[1]
        assert end == 2 * bar  # a host that loops the file loops its bars
        told = {message.type: message for message in midi.tracks[0] if message.is_meta}
        assert mido.tempo2bpm(told["set_tempo"].tempo) == pytest.approx(one.clip.bpm)
        assert (told["time_signature"].numerator, told["time_signature"].denominator) == meter
        assert sorted(found) == sorted(map(tuple, one.clip.notes.tolist()))
        read_again = midifile.read(path)
        (part,), lost = stretches(read_again, drums_of(read_again)[0], grid)
        codes = one.codes.copy()
        codes[12:, 0] = np.maximum(codes[12:, 0], grid.on_step)  # nothing is before the first bar line
        assert not lost and np.array_equal(grid.encode(part.clip), codes)
        sidecar = read(beside)
        assert np.array_equal(sidecar.codes, one.codes) and sidecar.hits == len(found)


def test_a_hit_at_the_very_end_does_not_lengthen_the_file(tmp_path):
    path, _ = save(beat(DrumClip([(1919, KICK, 100), (1919, SNARE, 1), (1900, OPEN, 9)], bars=1)), tmp_path)
    _, found, end = by_mido(path)
    assert len(found) == 3 and end == 1920


def test_a_file_a_track(tmp_path):
    one = hits(*[(at, pitch, 9 + at) for pitch in (KICK, SNARE, OPEN, CRASH) for at in range(pitch % 5, 16, 3)], bars=2)
    odd = {KICK: "../kick", SNARE: "a b", OPEN: "a-b"}
    one = replace(one, names=one.names | odd)
    whole, *files, _ = save(one, tmp_path, Output(tracks=True))
    stem = whole.name[: -len(".mid")]
    assert {file.parent for file in files} == {tmp_path} and [file.name[len(stem):] for file in files] == [
        "_..-kick.mid", "_a-b.mid", "_a-b_46.mid", "_crash.mid"]
    together = []
    for file in files:
        midi, found, end = by_mido(file)
        assert end == by_mido(whole)[2] and file.name == f"{stem}_{midi.tracks[0].name}.mid"
        assert len({pitch for _, pitch, _ in found}) == 1
        together += found
    assert sorted(together) == sorted(by_mido(whole)[1])
    assert list(tracks(hits((0, KICK, 9), (1, 99, 9)))) == ["kick", "99"]


def sound(one: Beat, folder: Path, **how) -> np.ndarray:
    path = save(one, folder, Output(wav=True, **how))[1]
    wav, rate = sf.read(path, dtype="float32")
    assert rate == how.get("rate", RATE)
    return wav


def loud(wav: np.ndarray, begin: float, seconds: float = 0.02, rate: int = RATE) -> float:
    return float(np.abs(wav[round(begin * rate): round((begin + seconds) * rate)]).max(initial=0))


@pytest.mark.parametrize("bpm, rate", [(120.0, RATE), (97.3, RATE), (174.0, 48_000), (400.0, 22_050)])
def test_a_wav_is_its_bars_and_the_hits_are_at_their_time(tmp_path, bpm, rate):
    one = hits((4, KICK, 100), (20, SNARE, 100), bars=2, bpm=bpm)
    wav = sound(one, tmp_path, rate=rate)
    step = 60 / bpm / 4
    assert len(wav) == round(32 * step * rate) == round(one.seconds * rate)
    for at in (4 * step, 20 * step):
        assert loud(wav, at - 0.011, 0.01, rate) < 0.25 * loud(wav, at, 0.02, rate) > 0.02
    assert loud(wav, 0, 3.9 * step, rate) < 1e-3


def test_what_rings_on_is_heard_at_the_start():
    clip = hits((14, CRASH, 120), (0, KICK, 100), (15, OPEN, 120), (1, 42, 60)).clip
    once = render.play(clip, render.player(), RATE).wav
    assert loud(once, 0.06, 0.05) > 0.01
    ticks = np.array([1920, 0, 0])
    thrice = DrumClip(np.concatenate([clip.notes, clip.notes + ticks, clip.notes + 2 * ticks]), bars=3)
    assert np.allclose(render.play(thrice, render.player(), RATE).wav, np.tile(once, 3), atol=1e-6)
    open_hat = render.play(hits((15, OPEN, 120)).clip, render.player(), RATE).wav
    choked = render.play(hits((15, OPEN, 120), (0, 42, 1)).clip, render.player(), RATE).wav
    assert loud(open_hat, 0.05, 0.1) > 10 * loud(choked, 0.05, 0.1)  # by the hat of the next time round


def test_nothing_clips(tmp_path):
    many = [(at, pitch, 127) for at in range(16) for pitch in render.player().kit.hits]
    wav = sound(hits(*many), tmp_path)
    assert np.abs(wav).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)
    quiet = hits((0, KICK, 60))
    assert read(save(quiet, tmp_path / "quiet", Output(wav=True))[-1]).sound["gain_db"] == 0
    loudest = sound(hits((0, KICK, 127)), tmp_path / "loud")
    assert loud(sound(quiet, tmp_path / "quiet"), 0) < 0.3 * np.abs(loudest).max()


def test_a_wav_says_that_it_loops_and_what_it_is(tmp_path):
    path = save(hits((0, KICK, 99), bars=4, bpm=96.0), tmp_path, Output(wav=True))[1]
    data = path.read_bytes()
    smpl, acid = data.index(b"smpl") + 8, data.index(b"acid") + 8
    assert struct.unpack("<2I", data[smpl + 44: smpl + 52]) == (0, sf.info(path).frames - 1)
    assert struct.unpack("<IHHf", data[acid + 12: acid + 24]) == (16, 4, 4, 96.0)
    with sf.SoundFile(path) as file:
        comment = json.loads(file.comment)
    assert comment["seed"] == 5 and comment["beat"] == read(path.with_suffix(".json")).beat


def test_a_kit_of_ones_own(tmp_path):
    kit = tmp_path / "kit"
    kit.mkdir()
    sf.write(kit / "beep.wav", np.sin(np.arange(2000) / 5), RATE)
    said = {"name": "beeps", "velocity_db": 20, "hits": {"beep": {"pitches": [KICK], "gain_db": -6, "layers": [
        {"file": "beep.wav", "from": 1}]}}}
    (kit / "kit.json").write_text(json.dumps(said))
    one = hits((0, KICK, 127), (8, CRASH, 127))
    *_, wav, beside = save(one, tmp_path / "out", Output(kit=kit))
    assert loud(sf.read(wav)[0], 0) == pytest.approx(0.5, abs=0.01) and loud(sf.read(wav)[0], 1) == 0
    assert read(beside).sound["silent"] == ["crash"] and read(beside).sound["player"] == "beeps"
    for wrong in ({"gain_db": 1e9}, {"layers": [{"file": "beep.wav", "from": "low"}]}, {"pitches": [900]}):
        bad = tmp_path / "bad"
        shutil.copytree(kit, bad)
        (bad / "kit.json").write_text(json.dumps(said | {"hits": {"beep": said["hits"]["beep"] | wrong}}))
        with pytest.raises(UserError, match="kit"):
            Output(kit=bad).check()
        shutil.rmtree(bad)
    (kit / "beep.wav").write_bytes(b"no sound")
    shutil.copytree(kit, tmp_path / "other")
    with pytest.raises(UserError, match="not a drum kit"):
        Output(kit=tmp_path / "other").check()


def font(bank: int = 128, names: tuple[str, ...] = ("Kit",), samples: int = 2000) -> bytes:
    """A SoundFont with presets in ``bank``, all of one noise that fades."""
    noise = np.random.default_rng(0).uniform(-1, 1, samples) * np.exp(-np.arange(samples) / samples * 7) * 20_000
    name = lambda text: text.encode().ljust(20, b"\0")
    preset = lambda text, *numbers: name(text) + struct.pack("<3H3I", *numbers, 0, 0, 0)
    tables = {
        b"phdr": b"".join(preset(n, i, bank, i) for i, n in enumerate(names)) + preset("EOP", 0, 0, len(names)),
        b"pbag": b"".join(struct.pack("<2H", i, 0) for i in range(len(names) + 1)), b"pmod": bytes(10),
        b"pgen": struct.pack("<2H", 41, 0) * len(names) + bytes(4),  # to the instrument
        b"inst": name("Noise") + struct.pack("<H", 0) + name("EOI") + struct.pack("<H", 1),
        b"ibag": struct.pack("<4H", 0, 0, 3, 0), b"imod": bytes(10),
        b"igen": struct.pack("<6H", 56, 0, 54, 0, 53, 0) + bytes(4),  # no key tracking, no loop, to the sample
        b"shdr": name("Noise") + struct.pack("<5IBb2H", 0, samples, 0, 0, RATE, 60, 0, 0, 1) + name("EOS") + bytes(26)}
    chunk = lambda kind, body: struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)
    info = b"INFO" + chunk(b"ifil", struct.pack("<2H", 2, 1))
    data = b"sdta" + chunk(b"smpl", np.concatenate([noise, np.zeros(46)]).astype("<i2").tobytes())
    pdta = b"pdta" + b"".join(chunk(*table) for table in tables.items())
    return chunk(b"RIFF", b"sfbk" + b"".join(chunk(b"LIST", body) for body in (info, data, pdta)))


@pytest.fixture
def drums_sf2(tmp_path) -> Path:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/dr\xffms.sf2"))  # a name that is no Unicode
    path.write_bytes(font())
    return path


def test_through_a_soundfont(tmp_path, drums_sf2):
    Output(soundfont=drums_sf2).check()
    one = hits((4, KICK, 127), (8, SNARE, 64), (12, CRASH, 127))
    wav = sound(one, tmp_path / "out", soundfont=drums_sf2)
    assert len(wav) == 2 * RATE
    first, second, third = (loud(wav, at, 0.05) for at in (0.5, 1.0, 1.5))
    assert loud(wav, 0, 0.499) < 1e-4 < 0.1 < second < 0.8 * first and third == pytest.approx(first, rel=0.01)
    assert np.array_equal(sound(one, tmp_path / "again", soundfont=drums_sf2), wav)  # nothing is left of the last one
    sidecar = read(next((tmp_path / "out").glob("*.json")))
    assert sidecar.output == Output(wav=True, soundfont=drums_sf2) and sidecar.sound["player"] == "Kit"
    (tmp_path / "long.sf2").write_bytes(font(samples=9 * RATE))
    played = soundfont.Font.load(tmp_path / "long.sf2")
    assert loud(played.render([(0, KICK, 127)], 0.01, RATE), 0) > 0.1  # cut off while it rings
    assert not played.render([], 0.1, RATE).any()
    dense = hits(*[(at, pitch, 127) for at in range(16) for pitch in range(35, 60)])
    assert np.abs(sound(dense, tmp_path / "dense", soundfont=drums_sf2)).max() <= 0.892


@pytest.mark.parametrize("data, says", [
    (font(0, ("Piano", "Organ")), "without drums: nothing in bank 128, but 2 other presets"), (b"", "0 bytes"),
    (b"MThd" + bytes(99), "begins with b'MThd'"), (font()[:3000], "too early"), (font()[:4100], "too early|has no"),
    (font().replace(b"pgen", b"what"), "has no pgen"), (font().replace(b"smpl", b"what"), "has no smpl"),
    (font().replace(struct.pack("<2H", 41, 0), struct.pack("<2H", 41, 7)), "pgen points outside of inst"),
    (font().replace(struct.pack("<3H", 0, 128, 0), struct.pack("<3H", 0, 128, 7)), "phdr points outside of pbag"),
    (font().replace(struct.pack("<2H", 0, 1) + b"EOS", struct.pack("<2H", 0, 0x11) + b"EOS"), "compressed"),
    (font().replace(struct.pack("<2I", 0, 2000), struct.pack("<2I", 0, 9000)), "outside"),
])
def test_soundfonts_that_cannot_be_played(tmp_path, data, says):
    path = tmp_path / "x.sf2"
    path.write_bytes(data)
    with pytest.raises(UserError, match=says) as caught:
        Output(soundfont=path).check()
    assert "\n" not in str(caught.value)


def test_no_soundfont_and_nobody_to_play_it(tmp_path, drums_sf2, monkeypatch):
    for path in (tmp_path / "none.sf2", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            Output(soundfont=path).check()
    monkeypatch.setattr("tinysoundfont.Synth.sfload", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no good")))
    soundfont._synth.cache_clear()
    with pytest.raises(UserError, match="cannot be played .no good"):
        Output(soundfont=drums_sf2).check()
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(UserError, match="pip install --no-deps tinysoundfont"):
        soundfont.Font.load(drums_sf2)


@pytest.mark.parametrize("output, says", [
    (Output(wav=True, rate=10), "10"), (Output(kit=Path("nowhere")), "no kit.json"),
    (Output(kit=DEFAULT, soundfont=Path("x")), "leave out --soundfont x or --kit"),
])
def test_what_cannot_be_is_refused_early(output, says):
    with pytest.raises(UserError, match=says):
        output.check()
    Output(wav=True, picture=True, tracks=True).check()


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_beat_that_is_there_stays(tmp_path):
    one, everything = hits((0, KICK, 99)), Output(wav=True, picture=True, tracks=True)
    assert place(tmp_path, one.recipe, 0, everything) == (tmp_path / f"{STEM}.mid", False)
    paths = save(one, tmp_path, everything)
    assert [path.name for path in paths] == [STEM + end for end in (".mid", "_kick.mid", ".wav", ".png", ".json")]
    before = state(tmp_path)
    for output in (everything, Output(), Output(tracks=True)):
        assert place(tmp_path, one.recipe, 0, output) == (paths[0], True) and save(one, tmp_path, output) == paths
    assert state(tmp_path) == before
    paths[0].write_bytes(b"edited in a DAW")
    assert place(tmp_path, one.recipe, 0, everything).there and save(one, tmp_path, everything) == paths
    assert paths[0].read_bytes() == b"edited in a DAW"


def test_more_of_a_beat_is_added(tmp_path):
    one = hits((0, KICK, 99))
    save(one, tmp_path)
    before = state(tmp_path)
    assert not place(tmp_path, one.recipe, 0, Output(wav=True)).there
    midi, wav, beside = save(one, tmp_path, Output(wav=True, rate=48_000))
    assert place(tmp_path, one.recipe, 0, Output(wav=True, rate=48_000)).there
    wav.write_bytes(b"made louder")
    save(one, tmp_path, Output(picture=True))
    assert wav.read_bytes() == b"made louder" and midi.read_bytes() == before[midi.name]
    sidecar = read(beside)
    assert sidecar.files == (midi.name, wav.name, f"{STEM}.png") and sidecar.sound["rate"] == 48_000
    assert sidecar.output == Output(wav=True, picture=True, rate=48_000)
    midi.unlink()
    assert not place(tmp_path, one.recipe, 0, Output()).there and save(one, tmp_path)[0] == midi
    assert midi.read_bytes() == before[midi.name]
    midi.write_bytes(b"edited in a DAW")  # files that are added would be of another beat
    assert save(one, tmp_path, Output(tracks=True))[0].name == f"{STEM}_v2.mid"
    assert midi.read_bytes() == b"edited in a DAW"


def test_another_sound_is_another_file(tmp_path, drums_sf2):
    one, folder = hits((0, KICK, 99)), tmp_path / "out"
    outputs = [Output(wav=True), Output(wav=True, rate=48_000), Output(soundfont=drums_sf2)]
    names = [save(one, folder, output)[1].name for output in outputs]
    assert names == [f"{STEM}.wav", f"{STEM}_v2.wav", f"{STEM}_v3.wav"]
    before = state(folder)
    assert [place(folder, one.recipe, 0, output).path.stem for output in outputs] == [name[:-4] for name in names]
    drums_sf2.write_bytes(font(names=("Other",)))
    render.player.cache_clear()  # as another process would see it
    assert save(one, folder, outputs[2])[1].name == f"{STEM}_v4.wav"
    assert before.items() <= state(folder).items()


@pytest.mark.parametrize("links", [True, False])
def test_nothing_of_others_is_written_over(tmp_path, monkeypatch, links):
    if not links:  # as on FAT
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    one = hits((0, KICK, 99))
    other = replace(one, recipe=recipe(density="high"))
    save(other, tmp_path)
    for number, end in enumerate((".mid", ".json", ".wav", ".png"), 2):
        (tmp_path / f"{STEM}_v{number}{end}").write_bytes(b"mine")
    (tmp_path / f"{STEM}_v6.mid").mkdir()
    (tmp_path / f"{STEM}_v7.mid").symlink_to("nowhere")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    output = Output(wav=True, picture=True, tracks=True)
    paths = save(one, tmp_path, output)
    assert paths[0].name == f"{STEM}_v8.mid" and place(tmp_path, one.recipe, 0, output) == (paths[0], True)
    assert all(path.read_bytes() == data for path, data in before.items())
    assert len(list(tmp_path.iterdir())) == len(before) + 2 + len(paths)
    assert save(one, tmp_path, Output(wav=True, rate=48_000))[0].name == f"{STEM}_v5.mid"  # no picture is asked for


def test_an_interrupted_beat_is_gone_on_with(tmp_path):
    one = hits((0, KICK, 99))
    paths = save(one, tmp_path, Output(tracks=True))
    before = state(tmp_path)
    paths[-1].unlink()
    paths[1].unlink()
    assert place(tmp_path, one.recipe, 0, Output(tracks=True)) == (paths[0], False)
    assert save(one, tmp_path, Output(tracks=True)) == paths and state(tmp_path) == before


def test_a_folder_of_any_size_and_name(tmp_path, monkeypatch):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    one = replace(hits((0, KICK, 99)), about={"bundle": str(folder)})
    midi, _, beside = save(one, folder, Output(wav=True))
    assert midi.exists() and read(beside).folder == str(folder)
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, lambda *_: pytest.fail("the folder was listed"))
    assert place(folder, one.recipe, 0, Output()).there
    assert not place(folder, one.recipe, 1, Output()).there
    save(replace(one, index=1), folder)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("end", [".mid", "_snare.mid", ".wav", ".png", ".json"])
def test_a_full_disk_leaves_nothing(tmp_path, end):
    one, output = hits((0, KICK, 99), (4, SNARE, 99)), Output(wav=True, picture=True, tracks=True)
    part = f".{STEM}{end}.{os.getpid()}.part"
    part = f".{part}.part" if end in (".wav", ".png") else part  # these are written beside that
    (tmp_path / part).symlink_to("/dev/full")
    with pytest.raises(UserError, match="^cannot write .*No space left on device$"):
        save(one, tmp_path, output)
    assert not list(tmp_path.iterdir())
    assert len(save(one, tmp_path, output)) == 6


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        save(hits(), tmp_path / "file" / "out")


def test_a_sidecar_has_it_all(tmp_path):
    _, one = any_beat(4)
    midi, beside = save(one, tmp_path)
    sidecar = read(beside)
    assert (sidecar.recipe, sidecar.index, sidecar.about) == (one.recipe, 0, one.about)
    info = json.loads(beside.read_text())
    assert info["hits"] == sum(info["hits_of"].values()) == len(one.clip.notes)
    assert sidecar.files == (midi.name,) == (info["file"],) and sidecar.folder is None
    assert subprocess.run(["sha256sum", midi], capture_output=True, text=True).stdout.split()[0] == sidecar.sha256


@pytest.mark.parametrize("change, says", [
    ({"format": "micro-musicgen clip"}, "expected a beat's JSON.*got one of 'micro-musicgen clip'"),
    ({"version": 2}, "version 2, this reads version 1"), ({"recipe": None}, "'recipe' is 'None'"),
    ({"index": "0"}, "'index'"), ({"index": True}, "'index'"), ({"codes": "24:?"}, "codes"), ({"files": []}, "files"),
    ({"output": {"flac": True}}, "flac"), ({"output": {"wav": 1}}, "written"), ({"output": {"kit": 3}}, "written"),
    ({"about": 3}, "'about'"), ({"recipe": {"seed": 6}}, "was changed"), ("del sha256", "'sha256' is missing"),
    ("[]", "expected a beat's JSON"), ("{", "no JSON"), ("\xff", "no JSON"), ("[" * 99_999, "no JSON"),
])
def test_sidecars_that_are_none(tmp_path, change, says):
    beside = save(hits((0, KICK, 99)), tmp_path)[-1]
    info = json.loads(beside.read_text())
    if isinstance(change, dict):
        info |= change
    elif change.startswith("del "):
        del info[change[4:]]
    beside.write_bytes(change.encode("latin-1") if change in ("[]", "{", "\xff", "[" * 99_999) else
                       json.dumps(info).encode())
    with pytest.raises(UserError, match=says) as caught:
        read(beside)
    assert "\n" not in str(caught.value) and str(beside) in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "none.json")


def test_a_midi_file_needs_little():
    script = "import sys, audiocraft_ext.drums.play.output; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           timeout=60).stdout.split()
    assert not {"torch", "soundfile", "onnxruntime", "matplotlib", "tinysoundfont", "soxr"} & set(names)
