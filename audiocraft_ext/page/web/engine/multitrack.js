// Notes of several instruments as codes, 5 arrays [T]: the twin of audiocraft_ext/notes/codec/multitrack.py.

import { midiTempo, TICKS } from "./midi.js";
import { level } from "./numbers.js";

export const [POSITION, INSTRUMENT, PITCH, VELOCITY, LENGTH] = [0, 1, 2, 3, 4];
export const [LINE, DIVIDE, FIRST] = [0, 1, 2]; // positions that are none, and the first that is one
export const DRUMS = 0; // the instrument on channel 10; else 1 + program, + 128 or 256 for a further part of it
export const PROGRAMS = 128,
  VOICES = 3;
const K = 5,
  LONGEST = 8, // quarter notes of a bar
  SHORTEST = 1.5;

export const programOf = (instrument) => (instrument - 1) % PROGRAMS;

export class Multitrack {
  /** `codec` of model.json. */
  constructor({ division }) {
    this.division = division;
    this.lengths = Array.from({ length: 2 * division }, (_, i) => i + 1);
    for (let double = 1; double < 5; double++) {
      const last = this.lengths.at(-1);
      for (let i = 1; i <= division; i++) this.lengths.push(last + 2 ** double * i);
    }
  }

  /** Parts of a bar. Throws in words where the codec has no such bar. */
  barParts([over, under]) {
    const parts = (4 * this.division * over) / under;
    if (!this.fits([over, under]))
      throw new Error(`a bar of ${over}/${under} is none of this instrument: ${SHORTEST} to ${LONGEST} quarter notes are`);
    return parts;
  }

  /** Whether there are such bars. */
  fits([over, under]) {
    const parts = (4 * this.division * over) / under;
    return Number.isInteger(parts) && parts >= SHORTEST * this.division && parts <= LONGEST * this.division;
  }

  /** Any codes as a score: `{notes, bpm, meter, bars, seconds}`, notes `[start, length, instrument, pitch, velocity]`,
   * times in ticks of 480 to a quarter note. */
  decode(codes, bpm, meter) {
    const bar = this.barParts(meter),
      tick = TICKS / this.division,
      rows = [];
    let lines = 0;
    codes[POSITION].forEach((position, t) => {
      if (position === LINE) lines++;
      if (position < FIRST || position >= FIRST + bar) return;
      const instrument = codes[INSTRUMENT][t],
        length = instrument === DRUMS ? 0 : codes[LENGTH][t];
      const start = Math.max(lines - 1, 0) * bar + position - FIRST;
      rows.push([start, instrument, codes[PITCH][t], codes[VELOCITY][t] + 1, length]);
    });
    const bars = Math.max(1, lines),
      exact = midiTempo(bpm);
    return {
      notes: this.sorted(rows).map(([start, instrument, pitch, velocity, length]) => [
        start * tick,
        this.lengths[length] * tick,
        instrument,
        pitch,
        velocity,
      ]),
      bpm: exact,
      meter,
      bars,
      seconds: (((bars * meter[0] * 4) / meter[1]) * 60) / exact,
    };
  }

  /** Rows `[start in parts, instrument, pitch, velocity, code of the length]` in the order of codes, none of which goes on
   * when its pitch begins anew. */
  sorted(rows) {
    const gaps = untilNext(rows);
    return rows
      .map(([start, instrument, pitch, velocity, length], i) => [
        ...[start, instrument, pitch, velocity],
        Math.min(length, level(gaps[i], this.lengths) - 1),
      ])
      .sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || a[4] - b[4] || a[3] - b[3]);
  }

  /** The notes within a score `{notes, ticksPerBeat, meter, bars}` as `sorted` gives them. */
  inside({ notes, ticksPerBeat: beat, meter, bars }) {
    const { division, lengths } = this,
      middles = lengths.slice(1).map((length, i) => Math.floor((length + lengths[i] + 1) / 2)),
      end = bars * this.barParts(meter);
    const parts = (ticks) => {
      const beats = Math.floor(ticks / beat);
      return beats * division + Math.floor((2 * (ticks - beats * beat) * division + beat) / (2 * beat));
    };
    const rows = notes.map(([start, length, instrument, pitch, velocity]) => {
      const from = parts(start),
        long = Math.max(parts(start + length) - from, 1);
      return [from, instrument, pitch, velocity, instrument === DRUMS ? 0 : level(long, middles)];
    });
    return this.sorted(rows).filter(([start]) => start >= 0 && start < end);
  }

  /** Codes of rows as `sorted` gives them, all of them inside of `bars`. */
  codesOf(rows, bars, barParts) {
    const codes = Array.from({ length: K }, () => new Int32Array(rows.length + bars));
    rows.forEach(([start, instrument, pitch, velocity, length], i) => {
      const at = i + Math.floor(start / barParts) + 1;
      [FIRST + (start % barParts), instrument, pitch, velocity - 1, length].forEach((code, k) => (codes[k][at] = code));
    });
    return codes;
  }
}

/** From each `[start, instrument, pitch]` to the next later one of its instrument and pitch; Infinity where there is none. */
export function untilNext(notes) {
  const starts = new Map();
  for (const [start, instrument, pitch] of notes) {
    const key = instrument * 128 + pitch;
    if (!starts.has(key)) starts.set(key, new Set());
    starts.get(key).add(start);
  }
  const following = new Map();
  for (const [key, some] of starts) {
    const order = [...some].sort((a, b) => a - b);
    following.set(key, new Map(order.map((start, i) => [start, (order[i + 1] ?? Infinity) - start])));
  }
  return notes.map(([start, instrument, pitch]) => following.get(instrument * 128 + pitch).get(start));
}

// Codes with and without some of their frames: the twins of the functions of notes/play/arrange.py.

export const empty = () => Array.from({ length: K }, () => new Int32Array(0));

/** A frame that is no note. */
export const frame = (position, instrument = 0) => [position, instrument, 0, 0, 0].map((code) => Int32Array.of(code));

export const join = (...parts) =>
  Array.from({ length: K }, (_, k) => Int32Array.from(parts.flatMap((part) => Array.from(part[k]))));

export const cut = (codes, begin, end) => codes.map((row) => row.slice(begin, end));

/** The frames at these places, in their order. */
const taken = (codes, places) => codes.map((row) => Int32Array.from(places, (t) => row[t]));

/** Those frames for which `kept(t)` is true. */
function filtered(codes, kept) {
  return taken(
    codes,
    Array.from(codes[POSITION], (_, t) => t).filter((t) => kept(t)),
  );
}

const linesOf = (codes) => Array.from(codes[POSITION], (_, t) => t).filter((t) => codes[POSITION][t] === LINE);

/** The bars of codes that begin with a bar line, each with it. */
export function barsOf(codes) {
  const lines = linesOf(codes);
  return lines.map((line, i) => cut(codes, i ? line : 0, lines[i + 1]));
}

/** As many bars; where there are fewer, empty ones. */
export function upToBar(codes, bars) {
  const lines = linesOf(codes);
  if (lines.length > bars) return cut(codes, 0, lines[bars]);
  return join(codes, ...Array.from({ length: bars - lines.length }, () => frame(LINE)));
}

/** Without the notes of instruments for which `unwanted(instrument)` is true, and without divisions. */
export const without = (codes, unwanted) =>
  filtered(codes, (t) => {
    const position = codes[POSITION][t];
    return position === LINE || (position >= FIRST && !unwanted(codes[INSTRUMENT][t]));
  });

/** The notes of each bar in the order of time, instrument and pitch. */
export function ordered(codes) {
  let bar = 0;
  const keys = Array.from(codes[POSITION], (position, t) => [
    (bar += position === LINE),
    position,
    codes[INSTRUMENT][t],
    codes[PITCH][t],
  ]);
  const order = keys.map((_, t) => t);
  order.sort((a, b) => {
    for (let i = 0; i < 4; i++) if (keys[a][i] !== keys[b][i]) return keys[a][i] - keys[b][i];
    return 0;
  });
  return taken(codes, order);
}
