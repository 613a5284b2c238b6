// Music of several instruments in words: the twin of audiocraft_ext/notes/describe.py.

import { DRUMS, FIRST, INSTRUMENT, LENGTH, LINE, PITCH, POSITION, programOf } from "./multitrack.js";
import { level } from "./numbers.js";
import { LEVELS } from "./words.js";

export const [YES, NO] = ["yes", "no"];
const METERS = ["4/4", "3/4", "6/8", "2/4"];
const EDGES = { density: [3, 4.5, 6, 8], polyphony: [3, 4.5, 6, 8], register: [48, 55, 60, 64] };
export const MEASURED = Object.keys(EDGES);

export const meterWord = ([over, under]) => (METERS.includes(`${over}/${under}`) ? `${over}/${under}` : "other");

/** The families, "drums" first, that a model has words for. */
export const familiesOf = (info) => info.general_midi.families;

/** The family of an instrument, or "drums". */
export const familyOf = (info, instrument) =>
  instrument === DRUMS ? "drums" : familiesOf(info)[1 + Math.floor(programOf(instrument) / 8)];

/** Such as "drums", "acoustic grand piano" or "acoustic grand piano 2". */
export function nameOf(info, instrument) {
  if (instrument === DRUMS) return "drums";
  const voice = Math.floor((instrument - 1) / 128);
  return info.general_midi.programs[programOf(instrument)] + (voice ? ` ${voice + 1}` : "");
}

/** Density, polyphony and register of what is not drums; nothing where there are no such notes. */
export function measures(codec, codes, meter) {
  const tuned = Array.from(codes[POSITION], (_, t) => t).filter(
    (t) => codes[POSITION][t] >= FIRST && codes[INSTRUMENT][t] !== DRUMS,
  );
  if (!tuned.length) return {};
  const bars = codes[POSITION].filter((position) => position === LINE).length;
  const parts = Math.max(1, bars) * codec.barParts(meter),
    sum = (of) => tuned.reduce((total, t) => total + of(t), 0);
  return {
    density: (tuned.length * codec.division) / parts,
    polyphony: sum((t) => codec.lengths[codes[LENGTH][t]]) / parts,
    register: sum((t) => codes[PITCH][t]) / tuned.length,
  };
}

/** How many words of a prompt a piece is not, levels by how many they are off. */
export function miss(info, codec, codes, { said = {}, meter }) {
  const plays = new Set(
    Array.from(codes[POSITION], (position, t) => position >= FIRST && familyOf(info, codes[INSTRUMENT][t])),
  );
  const heard = measures(codec, codes, meter);
  let total = 0;
  for (const [name, word] of Object.entries(said)) {
    if (familiesOf(info).includes(name)) total += (plays.has(name) ? YES : NO) !== word;
    else if (MEASURED.includes(name))
      total += name in heard ? Math.abs(level(heard[name], EDGES[name]) - LEVELS.indexOf(word)) : LEVELS.length;
  }
  return total;
}
