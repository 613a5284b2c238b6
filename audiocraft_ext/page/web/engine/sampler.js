// The sampling loop, with given codes and windows: the twin of audiocraft_ext/engine/sampler.py.

import { uniforms } from "./random.js";
import { plan, sample } from "./sampling.js";
import { close, delay, firstUnknown, gatesOf, sourcesOf, stepsOf, undelay } from "./sequence.js";

export const UNKNOWN = -1;
export const SOME = -2;
const PREFILL = 64;

/** Spans of the sequence to decode, `[origin, begin, end]`; see `windows` in Python. */
export function* windows(first, steps, window, prompt = 0) {
  const hop = Math.max(1, Math.floor((window - prompt) / 2));
  for (let begin = first; begin < steps;) {
    const origin = Math.max(0, Math.ceil((begin + 1 - window) / hop)) * hop;
    const end = Math.min(steps, origin + window);
    yield [origin, begin, end];
    begin = end;
  }
}

/** The steps from `origin` to `end` of a clip's sequence, with no frame before `origin` but the prompt. */
function local(sequence, origin, end, spec) {
  return sequence.map((row, k) => {
    const out = row.slice(origin, end),
      d = spec.delays[k];
    out.fill(spec.card, 0, d + 1);
    if (origin) out.set(row.subarray(d + 1, d + 1 + (spec.prompt || 0)), d + 1);
    return out;
  });
}

const columns = (clips, begin, end) => clips.map((rows) => rows.map((row) => row.subarray(begin, end)));

/** Sample a batch and hand out frames when all of their codes are known.
 *
 * @param stepper `start(batch, capacity)`, and `step([B][K] Int32Array [S])`, which gives (a promise of) the logits
 *   `Float32Array [B * K * card]` of the step that follows
 * @param spec of the LM, as in model.json
 * @param indices the number of each clip (numbers or BigInts)
 * @param frames T, with the prompt
 * @param how `{seed, sampling, given, window, stop}`; `given` is for each clip K arrays [T0], T0 <= T; UNKNOWN or SOME
 *   is what is to be sampled. `stop()`, or what it promises, is asked before each step; where it
 *   is true the rest is not made.
 * @yields for each clip K arrays `Int32Array [t]` */
export async function* stream(stepper, spec, indices, frames, { seed, sampling, given, window, stop = () => false }) {
  const K = spec.n_q,
    delays = spec.delays,
    deepest = Math.max(...delays);
  const codes = indices.map((_, b) =>
    Array.from({ length: K }, (_, k) => {
      const row = new Int32Array(frames).fill(UNKNOWN);
      if (given) row.set(given[b][k]);
      return row;
    }),
  );
  const firsts = new Set(codes.map((clip) => firstUnknown(clip, delays)));
  if (firsts.size > 1) throw new Error("the clips of one batch have their first unknown code at different steps");
  const [first] = firsts,
    S = stepsOf(frames, delays);
  const sequences = codes.map((clip) => delay(clip, delays, spec.card));
  const points = indices.map((index) => uniforms(seed, index, S * K));
  const settings = plan(sampling, K, spec.card),
    gates = gatesOf(spec),
    sources = sourcesOf(gates);
  const size = window ? Math.min(S, stepsOf(window, delays)) : S;
  let done = Math.max(0, first - 1 - deepest);
  if (done) yield sequences.map((sequence) => undelay(sequence, delays, 0, done));
  for (const [origin, begin, end] of windows(first, S, size, spec.prompt || 0)) {
    const here = sequences.map((sequence) => local(sequence, origin, end, spec));
    stepper.start(indices.length, size);
    let logits = await prefill(stepper, here, begin - origin);
    for (let s = begin - origin; s < end - origin; s++) {
      if (await stop()) return;
      here.forEach((clip, b) => {
        const row = logits.subarray(b * K * spec.card, (b + 1) * K * spec.card);
        fill(clip, s, row, points[b].subarray((origin + s) * K, (origin + s + 1) * K));
        clip.forEach((stream, k) => {
          sequences[b][k][origin + s] = stream[s];
        });
      });
      const known = origin + s - deepest;
      if (known > done) {
        yield sequences.map((sequence) => undelay(sequence, delays, done, known));
        done = known;
      }
      if (s + 1 < end - origin) logits = await stepper.step(columns(here, s, s + 1));
    }
  }
  if (done < frames) yield sequences.map((sequence) => undelay(sequence, delays, done, frames));

  function fill(clip, s, row, at) {
    const unknown = clip.map((stream) => stream[s] < 0);
    if (!unknown.some(Boolean)) return;
    if (clip.some((stream) => stream[s] === SOME)) {
      row = row.slice();
      clip.forEach((stream, k) => {
        if (stream[s] === SOME) row[k * spec.card] = -Infinity;
      });
    }
    const drawn = sample(row, K, spec.card, settings, at, sources);
    clip.forEach((stream, k) => {
      if (unknown[k]) stream[s] = drawn[k];
    });
    close(gates, clip, s, unknown);
  }
}

async function prefill(stepper, clips, steps) {
  let logits;
  for (let s = 0; s < steps; s += PREFILL)
    logits = await stepper.step(columns(clips, s, Math.min(s + PREFILL, steps)));
  return logits;
}

/** All of `stream` at once: for each clip K arrays [T]. */
export async function generate(stepper, spec, indices, frames, how) {
  const pieces = [];
  for await (const piece of stream(stepper, spec, indices, frames, how)) pieces.push(piece);
  return indices.map((_, b) =>
    joined(
      pieces.map((piece) => piece[b]),
      spec.n_q,
    ),
  );
}

/** Pieces of a clip, each K arrays, as one. */
export function joined(pieces, K) {
  return Array.from({ length: K }, (_, k) => {
    const out = new Int32Array(pieces.reduce((sum, piece) => sum + piece[k].length, 0));
    let at = 0;
    for (const piece of pieces) {
      out.set(piece[k], at);
      at += piece[k].length;
    }
    return out;
  });
}
