// Seamless loops: the twin of audiocraft_ext/audio/loop.py, which says how and why.

import { decode, hopOf } from "./codec.js";
import { resampleLoop } from "./fourier.js";
import { discontinuity, percentile, percentiles } from "./joins.js";
import { rint } from "./numbers.js";
import { generate, UNKNOWN } from "./sampler.js";
import { score } from "./score.js";

export const SHORTEST = 6;
const CANDIDATES = 8,
  MOST_CANDIDATES = 64n,
  BEAT = 0.5,
  HISTORY = 10,
  MATCH = 0.25,
  WARM_UP = 2,
  AHEAD = 24,
  CROSSFADE = 0.01,
  MOST_INSIDE = 400,
  SNAP = 0.005;
const mod = (i, n) => ((i % n) + n) % n;

/** The frames `from` to `to` of codes that go round and round. */
const around = (codes, from, to) =>
  codes.map((row) => Int32Array.from({ length: to - from }, (_, i) => row[mod(from + i, row.length)]));

export const loopFrames = (samples, hop) => Math.max(1, Math.floor((2 * samples + hop) / (2 * hop)));

/** Make a clip a loop of so many samples: `{wav, codes, report}`, the last as the clip's JSON has it.
 *
 * @param bundle see bundle.js
 * @param codes K arrays [T] of the clip
 * @param how `{seed, index, sampling}` of the clip, its `bpm` or undefined, its controls `beat`, C arrays [T], the `stepper`
 *   that samples it, and `stop()` as for `stream`
 * @yields `{share}`, how much is done; it returns undefined where it was stopped */
export async function* makeLoop(bundle, codes, samples, { seed, index, sampling, bpm, beat = [], stepper, stop = () => false }) {
  const { info } = bundle,
    { spec } = info,
    rate = info.codec.sample_rate,
    hop = hopOf(info),
    L = loopFrames(samples, hop);
  const frames = (seconds) => rint(seconds * spec.frame_rate);
  if (L < SHORTEST)
    throw new Error(`a loop lasts ${(SHORTEST * hop) / rate} s or more; ask for more bars or a slower tempo`);
  codes = codes.map((row) => row.slice(0, L));
  const beatFrames = bpm ? (60 / bpm) * spec.frame_rate : BEAT * spec.frame_rate;
  const ending = Math.max(1, Math.min(rint(beatFrames / 2), Math.floor(L / 4)));
  const turns = [codes, ...(await endings())];
  if (await stop()) return undefined;
  yield { share: 0.7 };
  const context = Math.min(L, frames(HISTORY)),
    head = Math.min(L, Math.max(1, frames(MATCH)));
  const code = await scored(
    turns.map((turn) => around(turn, -context, head)),
    context,
  );
  yield { share: 0.8 };
  const spectral = await spectra();
  if (await stop()) return undefined;
  yield { share: 0.9 };
  const misfits = ranks(code.map((x) => -x)).map((rank, j) => rank + ranks(spectral)[j]);
  const candidate = misfits.indexOf(Math.min(...misfits));
  const { wav, moved } = toZeroCrossing(resampleLoop(await oneTurn(turns[candidate]), samples), rint(SNAP * rate));
  const [inside] = await scored([codes], Math.floor(L / 2));
  const report = {
    candidate,
    ending_frames: ending,
    code_match: code,
    code_match_inside: inside,
    spectral_match: spectral,
    cents: 1200 * Math.log2((L * hop) / samples),
    moved,
    ...join(wav, L, moved, rate),
  };
  return { wav, codes: turns[candidate], report: short(report) };

  async function endings() {
    const before = Math.min(L, frames(HISTORY) + ending),
      T = before + Math.max(...spec.delays);
    const given = around(codes, -before, T - before).map((row) => row.fill(UNKNOWN, before - ending, before));
    const rest = around(
      beat.map((row) => row.subarray(0, L)),
      -before,
      T - before,
    );
    const indices = Array.from(
      { length: CANDIDATES - 1 },
      (_, c) => 2n ** 63n + MOST_CANDIDATES * BigInt(index) + BigInt(c + 1),
    );
    const made = await generate(stepper, spec, indices, T, {
      seed,
      sampling,
      window: info.context,
      given: indices.map(() => [...given, ...rest]),
      stop,
    });
    return made.map((clip) =>
      codes.map((row, k) => {
        const turn = row.slice();
        turn.set(clip[k].subarray(before - ending, before), L - ending);
        return turn;
      }),
    );
  }

  /** Only as much as the context holds counts. */
  function scored(clips, first) {
    const cut = Math.max(0, clips[0][0].length - info.context);
    return score(
      bundle.stepper,
      spec,
      clips.map((clip) => clip.map((row) => row.subarray(cut))),
      Math.max(0, first - cut),
    );
  }

  async function spectra() {
    const before = frames(0.7),
      out = [];
    for (const turn of turns) {
      const wav = await decode(bundle, around(turn, -before, AHEAD + frames(0.2)));
      out.push(discontinuity(wav, [before * hop], rate).flux[0]);
    }
    return out;
  }

  async function oneTurn(turn) {
    const before = frames(WARM_UP),
      fade = Math.min(rint(CROSSFADE * rate), (L * hop) >> 1);
    const after = AHEAD + Math.ceil(rint(CROSSFADE * rate) / hop);
    const wav = (await decode(bundle, around(turn, -before, L + after))).subarray(before * hop);
    const out = wav.slice(0, L * hop);
    out.set(crossfade(wav.subarray(L * hop, L * hop + fade), out.slice(0, fade)));
    return out;
  }
}

/** From `a` to `b` at the same power all the way. */
function crossfade(a, b) {
  const dot = (x, y) => x.reduce((sum, one, i) => sum + one * y[i], 0);
  const alike = Math.min(Math.max(dot(a, b) / Math.max(Math.sqrt(dot(a, a) * dot(b, b)), 1e-12), 0), 1);
  return a.map((x, i) => {
    const t = Math.sin(((Math.PI / 2) * i) / a.length) ** 2;
    return ((1 - t) * x + t * b[i]) / Math.sqrt((1 - t) ** 2 + t ** 2 + 2 * alike * t * (1 - t));
  });
}

/** Circular sound rotated so that it begins where its sign changes, at most `reach` samples away, or where it is quietest. */
function toZeroCrossing(wav, reach) {
  const N = wav.length,
    most = Math.min(reach, N >> 2),
    near = [0];
  for (let i = 1; i <= most; i++) near.push(-i, i);
  const negative = (i) => 1 / wav[mod(i, N)] < 0 || wav[mod(i, N)] < 0;
  const loud = (i) => Math.abs(wav[mod(i, N)]);
  const moved =
    near.find((i) => negative(i) !== negative(i - 1)) ?? near.reduce((a, b) => (loud(b) < loud(a) ? b : a));
  return { wav: wav.map((_, i) => wav[mod(i + moved, N)]), moved };
}

function join(wav, frames, moved, rate) {
  const step = Math.ceil(frames / MOST_INSIDE),
    some = [0];
  for (let at = 1; at < frames; at += step) some.push(at);
  const found = discontinuity(
    wav,
    some.map((at) => rint((at * wav.length) / frames) - moved),
    rate,
  );
  return Object.fromEntries(
    ["click", "flux"].flatMap((name) => {
      const [at, ...inside] = found[name];
      return [
        [name, at],
        [`${name}_percentile`, percentile(at, inside)],
        [`${name}_inside`, percentiles(inside, [5, 50, 95])],
      ];
    }),
  );
}

/** How many are below each. */
const ranks = (values) => values.map((value) => values.filter((other) => other < value).length);

/** As many digits as mean something. */
function short(report) {
  const round = (x) => (Number.isInteger(x) ? x : Number(x.toFixed(4)));
  return Object.fromEntries(
    Object.entries(report).map(([name, value]) => [name, Array.isArray(value) ? value.map(round) : round(value)]),
  );
}
