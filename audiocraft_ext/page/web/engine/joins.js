// How well sound continues at a point: the twin of audiocraft_ext/sound/joins.py, with what it needs of mel.py.

import { fft } from "./fourier.js";
import { rint } from "./numbers.js";

const WIDTH = 0.03,
  BANDS = 32,
  FLOOR = 1e-4, // -40 dB
  AROUND = 0.005;
const mod = (i, n) => ((i % n) + n) % n;

/** Clicks and changes of spectrum of circular `Float32Array [N]` at each of `points`: `{click, flux}`, arrays [P]. */
export function discontinuity(wav, points, rate) {
  return { click: points.map((at) => click(wav, at, rate)), flux: fluxes(wav, points, rate) };
}

/** The share of `inside` that is below `value`, equal ones count half. */
export const percentile = (value, inside) =>
  (inside.filter((x) => x < value).length + inside.filter((x) => x <= value).length) / (2 * inside.length);

/** numpy's `percentile` for each of `shares` in percent. */
export function percentiles(values, shares) {
  const sorted = Float64Array.from(values).sort();
  return shares.map((share) => {
    const at = (share / 100) * (sorted.length - 1),
      low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  });
}

function click(wav, at, rate) {
  const N = wav.length,
    reach = Math.max(8, rint(AROUND * rate));
  const bend = (n) => Math.abs(wav[mod(n, N)] - 2 * wav[mod(n - 1, N)] + wav[mod(n - 2, N)]);
  let sum = 0;
  for (let i = -reach; i < reach; i++) if (i !== 0 && i !== 1) sum += bend(at + i) ** 2;
  return Math.max(bend(at), bend(at + 1)) / Math.max(Math.sqrt(sum / (2 * reach - 2)), 2 ** -16);
}

function fluxes(wav, points, rate) {
  const N = wav.length,
    size = 2 ** rint(Math.log2(WIDTH * rate)),
    bands = bandsOf(rate, size);
  let sum = 0;
  const frames = 1 + Math.floor(N / size);
  for (let i = 0; i < frames; i++)
    for (const x of mel((j) => wav[(i - 0.5) * size + j] ?? 0, size, bands)) sum += x / (frames * BANDS);
  const level = Math.max(sum, 1e-9);
  return points.map((at) => {
    const [before, after] = [at - size, at].map((from) => mel((j) => wav[mod(from + j, N)], size, bands));
    const db = (x) => 10 * Math.log10(x / level + FLOOR);
    return before.reduce((total, x, i) => total + Math.abs(db(after[i]) - db(x)), 0) / BANDS;
  });
}

/** The mean power in each band of `size` samples under a Hann window. */
function mel(sample, size, bands) {
  const re = Float64Array.from({ length: size }, (_, i) => sample(i) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size))),
    im = new Float64Array(size);
  fft(re, im);
  return bands.map((band) => band.reduce((sum, [bin, weight]) => sum + weight * (re[bin] ** 2 + im[bin] ** 2), 0));
}

const known = new Map();

/** Triangles of weight 1, evenly spaced in mel, as `[bin, weight]`; a band narrower than a bin takes its nearest one. */
function bandsOf(rate, size) {
  const key = `${rate} ${size}`;
  if (known.has(key)) return known.get(key);
  const top = 2595 * Math.log10(1 + rate / 2 / 700);
  const edges = Array.from({ length: BANDS + 2 }, (_, i) => 700 * (10 ** ((top * i) / (BANDS + 1) / 2595) - 1));
  const hz = Array.from({ length: size / 2 + 1 }, (_, i) => (i * rate) / size);
  const bands = Array.from({ length: BANDS }, (_, b) => {
    const [low, centre, high] = edges.slice(b, b + 3);
    const weight = (f) => Math.max(Math.min((f - low) / (centre - low), (high - f) / (high - centre)), 0);
    let found = hz.map((f, bin) => [bin, weight(f)]).filter(([, w]) => w > 0);
    if (!found.length) {
      const away = hz.map((f) => Math.abs(f - centre));
      found = [[away.indexOf(Math.min(...away)), 1]];
    }
    const total = found.reduce((sum, [, w]) => sum + w, 0);
    return found.map(([bin, w]) => [bin, w / total]);
  });
  known.set(key, bands);
  return bands;
}
