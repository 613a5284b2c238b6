// Prompts of words, and how far a beat is from them: the twins of core/prompts.py, drums/describe.py and best_of.py.

import { level } from "./numbers.js";

export const LEVELS = ["very-low", "low", "medium", "high", "very-high"];
const SWINGS = ["straight", "light", "hard"];
const EDGES = { density: [14.0, 17.4, 20.8, 24.2], intensity: [0.48, 0.56, 0.62, 0.68], swing: [0.25, 0.55] };
const EIGHTH = [0.44, 17 / 24],
  SIXTEENTH = [5 / 12, 17 / 24],
  TRIPLET = 1 / 6,
  SWUNG = 4;
export const SCALES = Object.keys(EDGES);
export const FACTS = ["bars", "tempo", "meter"];
const APART = 1n << 40n;

/** The prompt's codes, K arrays [P], of a word for some of the fields. `prompts` is that of model.json. */
export function promptCodes(prompts, words) {
  const frames = Math.ceil(prompts.fields.length / prompts.n_q);
  const flat = new Int32Array(frames * prompts.n_q).fill(prompts.first);
  prompts.fields.forEach((field, i) => {
    const word = words[field.name];
    if (word === undefined || word === null) return;
    if (!field.words.includes(word))
      throw new Error(`${field.name}: expected one of ${field.words.join(", ")}, got ${word}`);
    flat[i] += 1 + field.words.indexOf(word);
  });
  return Array.from({ length: prompts.n_q }, (_, k) =>
    Int32Array.from({ length: frames }, (_, p) => flat[p * prompts.n_q + k]),
  );
}

/** Words for some fields in the prompt's own order; those that the model does not have are left out. */
export function ordered(prompts, words) {
  const found = prompts.fields.filter(({ name, words: known }) => known.includes(words[name]));
  return Object.fromEntries(found.map(({ name }) => [name, words[name]]));
}

export function tempoWord(bpm) {
  const ten = Math.min(Math.max(Math.floor(bpm / 10) - 5, 0), 15);
  return ten === 0 ? "<60" : ten === 15 ? ">=200" : `${50 + 10 * ten}-${60 + 10 * ten}`;
}

export function meterWord(meter) {
  const word = meter.join("/");
  return ["4/4", "3/4", "6/8", "7/8", "5/4"].includes(word) ? word : "other";
}

// A pattern is {step, drum, velocity, offset: arrays, bars, barSteps, beatSteps}.

const inBeat = (p) => p.step.map((step) => (step % p.barSteps) % p.beatSteps);
const measures = {
  density: (p) => (p.step.length * 4 * p.beatSteps) / (p.bars * p.barSteps),
  intensity: (p) => (p.step.length ? inBeat(p).filter(Boolean).length / p.step.length : 0),
  swing: (p) => {
    const quarter = inBeat(p).map((step, i) => (step + p.offset[i]) / p.beatSteps);
    const late = [
      [quarter, EIGHTH],
      [quarter.map((q) => (((2 * q) % 1) + 1) % 1), SIXTEENTH],
    ]
      .map(([place, [first, last]]) => {
        const swung = place.filter((q) => q >= first && q < last);
        return swung.length >= SWUNG ? (swung.reduce((a, b) => a + b) / swung.length - 0.5) / TRIPLET : null;
      })
      .filter((one) => one !== null);
    return late.length ? Math.max(...late) : null;
  },
};

/** The words of what can be measured in a pattern. */
export function measured(pattern) {
  const out = {};
  for (const name of SCALES) {
    const value = measures[name](pattern);
    if (value === null || (name === "intensity" && !pattern.step.length)) continue;
    out[name] = (name === "swing" ? SWINGS : LEVELS)[level(value, EDGES[name])];
  }
  return out;
}

export const measurable = (words) => SCALES.some((name) => words[name] !== undefined);

/** The indices of a beat's `n` candidates; the first is its own. */
export const candidates = (index, n) => Array.from({ length: n }, (_, i) => BigInt(index) + BigInt(i) * APART);

function miss(pattern, words) {
  let total = 0;
  for (const name of SCALES.filter((one) => words[one] !== undefined)) {
    const edges = EDGES[name],
      value = measures[name](pattern);
    const at = (name === "swing" ? SWINGS : LEVELS).indexOf(words[name]);
    const low = at ? edges[at - 1] : -Infinity,
      high = at < edges.length ? edges[at] : Infinity;
    total += value === null ? 1 : Math.max(low - value, value - high, 0) / (edges[edges.length - 1] - edges[0]);
  }
  return total;
}

/** The index of the pattern that misses the words least; of equals the first. */
export function nearest(patterns, words) {
  const misses = patterns.map((pattern) => miss(pattern, words));
  return misses.indexOf(Math.min(...misses));
}
