// Ticks of MIDI files as seconds and beats, and their time signatures: the twin of audiocraft_ext/midi/time.py.

import { level } from "./numbers.js";

// Tempos are [tick, quarter notes a minute], ascending, 120 before the first; meters [tick, over, under], 4/4 before it.

/** A function that says when a tick is, in seconds. */
export function clock(tempos, ticksPerBeat) {
  const at = [0, ...tempos.map(([tick]) => tick)],
    tickS = [120, ...tempos.map(([, bpm]) => bpm)].map((bpm) => 60 / (bpm * ticksPerBeat));
  const begin = sums(at, (ticks, i) => ticks * tickS[i]);
  return (tick) => {
    const i = Math.max(level(tick, at) - 1, 0);
    return begin[i] + (tick - at[i]) * tickS[i];
  };
}

/** A function that says how many quarter notes there are up to a tick of a film, `perSecond` of them. */
export function beatsOfFrames(tempos, perSecond) {
  const at = [0, ...tempos.map(([tick]) => tick)],
    bpm = [120, ...tempos.map(([, one]) => one)];
  const begin = sums(at, (ticks, i) => ((ticks / perSecond) * bpm[i]) / 60);
  return (tick) => {
    const i = level(tick, at) - 1;
    return begin[i] + (((tick - at[i]) / perSecond) * bpm[i]) / 60;
  };
}

/** Where each begins: the sum of those before it, `of(ticks, i)`. */
function sums(at, of) {
  const begin = [0];
  for (let i = 0; i + 1 < at.length; i++) begin.push(begin[i] + of(at[i + 1] - at[i], i));
  return begin;
}

/** Where which time signature begins, `[tick, [over, under]]` from tick 0; of several at a tick the last, and none that
 * changes nothing. */
export function meterMap(meters) {
  const at = new Map([[0, [4, 4]], ...meters.map(([tick, over, under]) => [tick, [over, under]])]),
    found = [];
  for (const [tick, meter] of at) if (String(found.at(-1)?.[1]) !== String(meter)) found.push([tick, meter]);
  return found;
}
