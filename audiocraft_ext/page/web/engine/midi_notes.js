// Notes of MIDI files: which end belongs to which, what the sustain pedal makes of them, which program plays them. The
// twin of audiocraft_ext/midi/notes.py.

import { fewer, level } from "./numbers.js";

export const SUSTAIN = 64; // the controller of the sustain pedal
const DOWN = 64; // its value from which on it is down

/** Where each of the notes' begins and ends, `{key, tick, on, last}` in the order in which they are played, ends: an end
 * belongs to the oldest note of its key that sounds, and what nothing ends does at its `last`. */
export function paired(played) {
  const ends = played.map(({ last }) => last),
    sounding = new Map();
  played.forEach(({ key, tick, on }, i) => {
    if (!sounding.has(key)) sounding.set(key, { begun: [], ended: 0 });
    const of = sounding.get(key);
    if (on) of.begun.push(i);
    else if (of.ended < of.begun.length) ends[of.begun[of.ended++]] = tick;
  });
  return ends;
}

/** The notes of a file with the sustain pedal as length: one that ends while its channel's pedal is down sounds until
 * the pedal comes up, its pitch begins anew, or the file ends. */
export function withSustain({ notes, controls, end }) {
  const pedal = grouped(
    controls.filter(({ number }) => number === SUSTAIN),
    ({ channel }) => channel,
  );
  const held = notes.map((note) => ({ ...note }));
  for (const [channel, moves] of pedal) {
    const at = moves.map(({ tick }) => tick),
      up = moves.filter(({ value }) => value < DOWN).map(({ tick }) => tick);
    const played = held.filter((note) => note.channel === channel);
    for (const same of grouped(played, ({ pitch }) => pitch).values()) {
      const starts = same.map(({ start }) => start);
      for (const note of same) {
        const last = fewer(note.end, at) - 1; // move of the pedal before the end
        if (last < 0 || moves[last].value < DOWN) continue;
        const until = up[fewer(note.end, up)] ?? end,
          anew = starts[fewer(Math.max(note.end, note.start + 1), starts)] ?? end;
        note.end = Math.max(note.end, Math.min(until, anew));
      }
    }
  }
  return held;
}

/** The program that plays each note: its channel's last before it begins or at that tick, on any track, else 0. */
export function programsOf({ notes, programs }) {
  const changes = grouped(programs, ({ channel }) => channel),
    ticks = new Map([...changes].map(([channel, some]) => [channel, some.map(({ tick }) => tick)]));
  return notes.map(({ start, channel }) => {
    const at = changes.has(channel) ? level(start, ticks.get(channel)) : 0;
    return at ? changes.get(channel)[at - 1].program : 0;
  });
}

/** The items by what `of` says of each, in their order. */
function grouped(items, of) {
  const found = new Map();
  for (const item of items) {
    if (!found.has(of(item))) found.set(of(item), []);
    found.get(of(item)).push(item);
  }
  return found;
}
