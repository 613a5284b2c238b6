// How likely codes are under the model: the twin of `Engine.score` in audiocraft_ext/engine/engine.py.

import { delay, stepsOf } from "./sequence.js";

const PREFILL = 64;

/** The mean log-probability (nats a code) of the frames from `first` on of each clip, J of K arrays [T] (without the
 * controls), at most as long as the model's context. What all begin with is read once. */
export async function score(stepper, spec, clips, first) {
  const K = spec.n_q,
    own = K - (spec.controls || 0),
    T = clips[0][0].length,
    S = stepsOf(T, spec.delays);
  const rest = Array.from({ length: K - own }, () => new Int32Array(T));
  const sequences = clips.map((clip) => delay([...clip, ...rest], spec.delays, spec.card));
  let shared = 0;
  while (shared < S - 1 && sequences.every((one) => one.every((row, k) => row[shared] === sequences[0][k][shared])))
    shared++;
  const sums = clips.map(() => 0);
  stepper.start(clips.length);
  for (let s = 0, end; s < S - 1; s = end) {
    end = Math.min(s + PREFILL, s < shared ? shared : S - 1);
    const logits = await stepper.logits(sequences.map((rows) => rows.map((row) => row.subarray(s, end))));
    logits.forEach((rows, j) => {
      for (let i = 0; i < end - s; i++)
        for (let k = 0; k < own; k++) {
          const step = s + i + 1;
          if (step < first + spec.delays[k] + 1 || step > T + spec.delays[k]) continue;
          const at = (i * K + k) * spec.card;
          sums[j] += logProbability(rows.subarray(at, at + spec.card), sequences[j][k][step]);
        }
    });
  }
  return sums.map((sum) => sum / (own * (T - first)));
}

function logProbability(row, code) {
  let top = -Infinity,
    total = 0;
  for (const x of row) top = Math.max(top, x);
  for (const x of row) total += Math.exp(x - top);
  return row[code] - top - Math.log(total);
}
