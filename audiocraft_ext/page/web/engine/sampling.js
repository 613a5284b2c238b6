// The next codes from logits: the twin of audiocraft_ext/engine/sampling.py. Sums are those of float32 in numpy's
// order; only `exp` may differ from numpy's in the last bit.

import { below, pairwise } from "./numbers.js";

const BLOCK = 64;
const TAMEST = 1e-30;
export const DEFAULTS = { temperature: 1, top_k: 250, top_p: 1, min_p: 0 };
const f = Math.fround;
const same = (x) => x;

/** A setting's value for each of `n` codebooks; the last stands for those behind it. */
const rows = (value, n) =>
  Array.from({ length: n }, (_, k) => (Array.isArray(value) ? value[Math.min(k, value.length - 1)] : value));

/** Settings worked out for all steps of a clip. Throws where one cannot be. */
export function plan(sampling, n_q, card) {
  const all = { ...DEFAULTS, ...sampling };
  const [temperature, top_k, top_p, min_p] = Object.keys(DEFAULTS).map((name) => rows(all[name], n_q));
  const good = (values, rule) => values.every((v) => Number.isFinite(v) && rule(v));
  if (!good(temperature, (v) => v >= 0)) throw new Error(`temperature is 0 or more, got ${all.temperature}`);
  if (!good(top_k, (v) => v >= 0 && v % 1 === 0))
    throw new Error(`top_k is 0 or a number of codes, got ${all.top_k}`);
  if (!good(top_p, (v) => v > 0 && v <= 1)) throw new Error(`top_p is above 0, up to 1, got ${all.top_p}`);
  if (!good(min_p, (v) => v >= 0 && v < 1)) throw new Error(`min_p is 0 up to below 1, got ${all.min_p}`);
  const kept = top_k.map((k) => (k > 0 && k < card ? k : card));
  return {
    greedy: temperature.map((t) => t === 0),
    temperature: temperature.map((t) => (t === 0 ? 1 : f(Math.max(t, TAMEST)))),
    kept,
    widest: Math.max(...kept),
    top_p,
    min_p: min_p.map(f),
    plain:
      temperature.every((t) => t === 1) &&
      kept.every((k) => k === card) &&
      top_p.every((p) => p === 1) &&
      min_p.every((p) => p === 0),
  };
}

/** One code for each of K streams.
 * @param {Float32Array} logits [K, card]
 * @param {Float64Array} points [K], in [0, 1): the point of the cumulated distribution that is taken
 * @param {Set<number>} sources streams that are first nothing or something, then what
 * @returns {number[]} [K] */
export function sample(logits, K, card, settings, points, sources) {
  return Array.from({ length: K }, (_, k) => {
    const row = logits.subarray(k * card, (k + 1) * card);
    return sources.has(k) && !settings.plain ? gated(row, k, settings, points[k]) : free(row, k, settings, points[k]);
  });
}

function free(row, k, settings, point) {
  const best = likeliest(row);
  if (settings.greedy[k]) return best;
  return find(weights(row, row[best], k, settings), point, true);
}

function gated(row, k, settings, point) {
  const inner = row.slice();
  inner[0] = -Infinity;
  const best = likeliest(inner),
    top = inner[best],
    nothing = row[0];
  const kinds = Float64Array.from(inner, (x) => f(Math.exp(f(x - top))));
  const something = top + Math.log(pairwise(kinds, 0, kinds.length, same));
  if (settings.greedy[k]) return nothing >= something ? 0 : best;
  const out = weights(inner, top, k, settings);
  const higher = Math.max(nothing, something),
    t = settings.temperature[k];
  const none = Math.exp((nothing - higher) / t),
    some = Math.exp((something - higher) / t);
  const factor = f(some / pairwise(out, 0, out.length, same));
  for (let i = 0; i < out.length; i++) out[i] *= factor;
  out[0] = none;
  return find(out, point, true);
}

/** The first of the largest. Throws where it is not finite. */
function likeliest(row) {
  let best = 0;
  for (let i = 0; i < row.length; i++) {
    if (row[i] > row[best]) best = i;
    if (Number.isNaN(row[i])) best = NaN;
  }
  if (!Number.isFinite(row[best])) throw new Error("the model's output is not finite; its weights are damaged");
  return best;
}

/** Probabilities up to a factor, `Float32Array [card]`: 0 for what a filter took out. */
function weights(row, top, k, settings) {
  const t = settings.temperature[k],
    tempered = (x) => Math.exp(f(f(x - top) / t));
  const out = Float32Array.from(row, tempered);
  const falling = settings.kept[k] < row.length || settings.top_p[k] < 1 ? row.slice().sort().reverse() : null;
  if (settings.kept[k] < row.length) drop(out, row, falling[settings.kept[k] - 1]);
  if (settings.top_p[k] < 1) {
    const total = pairwise(out, 0, out.length);
    const some = falling.subarray(0, settings.widest);
    drop(out, row, some[find(Float32Array.from(some, tempered), below(settings.top_p[k] * total), false)]);
  }
  if (settings.min_p[k] > 0) for (let i = 0; i < out.length; i++) if (out[i] < settings.min_p[k]) out[i] = 0;
  return out;
}

function drop(out, row, least) {
  for (let i = 0; i < out.length; i++) if (row[i] < least) out[i] = 0;
}

/** Where the running sum of `values` first exceeds `point` (a share of the whole sum if `relative`). */
function find(values, point, relative) {
  if (values.length <= BLOCK) {
    const running = cumulated(values);
    const total = running[running.length - 1];
    return count(running, Math.min(relative ? point * total : point, below(total)));
  }
  const blocks = Math.ceil(values.length / BLOCK),
    padded = new Float32Array(blocks * BLOCK);
  padded.set(values);
  const sums = cumulated(Float32Array.from({ length: blocks }, (_, i) => pairwise(padded, i * BLOCK, BLOCK)));
  const total = sums[blocks - 1];
  const at = Math.min(relative ? point * total : point, below(total));
  const block = count(sums, at);
  const inside = padded.subarray(block * BLOCK, (block + 1) * BLOCK);
  const within = count(cumulated(inside), at - (block > 0 ? sums[block - 1] : 0));
  return (
    block * BLOCK +
    Math.min(
      within,
      inside.findLastIndex((x) => x > 0),
    )
  );
}

function cumulated(values) {
  const out = new Float32Array(values.length);
  for (let i = 0, sum = 0; i < values.length; i++) out[i] = sum = f(sum + values[i]);
  return out;
}

function count(running, point) {
  let n = 0;
  for (const sum of running) if (sum <= point) n++;
  return n;
}
