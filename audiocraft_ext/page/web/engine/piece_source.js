// From a MIDI file to the codes of a piece: the twin of audiocraft_ext/notes/midi.py and notes/play/source.py.

import { BrokenMidi, DRUMS as DRUM_CHANNEL, parse } from "./midi_file.js";
import { programsOf, SUSTAIN, withSustain } from "./midi_notes.js";
import { clock, meterMap } from "./midi_time.js";
import { DRUMS, Multitrack, PROGRAMS, VOICES } from "./multitrack.js";
import { fewer, rounded } from "./numbers.js";
import { pieceRecipe } from "./pieces.js";
import { AS_IT_IS } from "./spec.js";

const METER = [4, 4], // where a file's is none of the codec's
  MOST_BARS = 256;

/** A file's bytes as a clip, `{recipe, index, codes}`, and what is to be said of it, `remarks`. Throws `BrokenMidi`. */
export function pieceOf(info, bytes) {
  const { codes, remarks, ...facts } = pieceSource(info, bytes),
    recipe = pieceRecipe(info, { ...facts, seed: 0n, edit: AS_IT_IS, source: codes });
  return { recipe, index: 0, codes, remarks };
}

/** The music of a file's bytes, from the first bar with a note to the last: `{codes, bpm, meter, bars, remarks}`. Of
 * several time signatures it is the one with the most notes. Throws `BrokenMidi`. */
function pieceSource(info, bytes) {
  const codec = new Multitrack(info.codec),
    midi = parse(bytes),
    [parts, remarks] = stretches(midi, codec);
  const score = parts.reduce((best, part) => (part.notes.length > best.notes.length ? part : best)),
    { meter, bpm } = score;
  const said = [...midi.remarks, ...remarks];
  if (parts.length > 1)
    said.push(`it has several time signatures, and only the ${score.notes.length} notes in ${meter.join("/")} are taken`);
  const rows = codec.inside(score),
    bar = codec.barParts(meter),
    first = Math.floor(rows[0][0] / bar);
  let end = Math.floor(rows.at(-1)[0] / bar) + 1;
  if (end - first > MOST_BARS) {
    end = first + MOST_BARS;
    said.push(`the first ${MOST_BARS} of its bars are taken`);
  }
  const taken = rows.filter(([start]) => start < end * bar).map(([start, ...rest]) => [start - first * bar, ...rest]);
  return {
    codes: codec.codesOf(taken, end - first, bar),
    bpm: rounded(Math.min(Math.max(bpm, 20), 400), 6),
    meter,
    bars: end - first,
    remarks: said,
  };
}

/** The instrument of each note: drums on channel 10, else the program of its channel. Parts (tracks and channels) of one
 * program are told apart, up to three; what is more is one with the third. */
function playersOf(midi) {
  const programs = programsOf(midi),
    key = ({ track, channel }, i) => (channel === DRUM_CHANNEL ? -1 : (programs[i] * 2 ** 24 + track) * 2 ** 8 + channel);
  const keys = midi.notes.map(key),
    part = new Map([[-1, DRUMS]]);
  let before = null,
    voice = 0;
  for (const one of [...new Set(keys)].sort((a, b) => a - b)) {
    if (one < 0) continue;
    const program = Math.floor(one / 2 ** 32);
    voice = program === before ? Math.min(voice + 1, VOICES - 1) : 0;
    before = program;
    part.set(one, 1 + voice * PROGRAMS + program);
  }
  return keys.map((one) => part.get(one));
}

/** A file as scores `{notes, ticksPerBeat, bpm, meter, bars}`, one for each time signature after another, and what is to
 * be said of it. A time signature begins a bar, wherever it stands; one that the codec has not is taken as 4/4. The
 * tempo of a score is the mean over it. */
function stretches(midi, codec) {
  const { ticksPerBeat: beat } = midi,
    remarks = [];
  if (!midi.notes.length) throw new BrokenMidi("has no notes");
  if (midi.bends.length || midi.controls.some(({ number }) => number !== SUSTAIN))
    remarks.push("pitch bends and controllers are left out");
  const odd = midi.meters.filter(([, ...meter]) => !codec.fits(meter)).map(([, over, under]) => `${over}/${under}`);
  if (odd.length) remarks.push(`bars of ${[...new Set(odd)].sort().join(", ")} are taken as 4/4`);
  const begins = meterMap(midi.meters.map(([tick, ...meter]) => [tick, ...(codec.fits(meter) ? meter : METER)])),
    seconds = clock(midi.tempos, beat),
    half = beat / codec.division / 2;
  const players = playersOf(midi),
    held = withSustain(midi),
    starts = held.map(({ start }) => start);
  const found = begins.map(([start, meter], i) => {
    const end = begins[i + 1]?.[0] ?? null,
      [first, behind] = [start ? fewer(start - half, starts) : 0, end === null ? starts.length : fewer(end - half, starts)];
    const notes = held
      .slice(first, behind)
      .map((note, j) => [
        Math.max(note.start - start, 0),
        note.end - note.start,
        players[first + j],
        note.pitch,
        note.velocity,
      ]);
    const bar = (beat * 4 * meter[0]) / meter[1],
      last = notes.reduce((most, [at]) => Math.max(most, at), 0) + half,
      least = end === null ? 0 : Math.ceil((end - start) / bar);
    const bars = Math.max(Math.floor(last / bar) + 1, least);
    if (end !== null && (end - start) % bar)
      remarks.push(`a bar of ${meter.join("/")} ends early at another time signature, it is filled up`);
    const bpm = (60 * bars * bar) / beat / (seconds(start + bars * bar) - seconds(start));
    return { notes, ticksPerBeat: beat, bpm, meter, bars };
  });
  return [found, [...new Set(remarks)]];
}
