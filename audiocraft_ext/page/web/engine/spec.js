// What of a spec, of sampling settings and of a clip's measures the engine and the recipes share.

/** What is done with a source that is not changed. */
export const AS_IT_IS = "as it is";

/** The spec of a clip's codes: without the controls. */
export function clipSpec(spec) {
  const C = spec.controls || 0;
  if (!C) return spec;
  const { controls, sizes, ...rest } = spec,
    K = spec.n_q - C;
  const kept = (sizes || []).slice(0, K);
  const clip = { ...rest, n_q: K, delays: spec.delays.slice(0, K) };
  return kept.every((size) => size === spec.card) ? clip : { ...clip, sizes: kept };
}

/** Sampling settings with no top_k above `card`, all four of them and in Python's order. */
function clamped({ temperature = 1, top_k = 250, top_p = 1, min_p = 0 }, card) {
  const least = (k) => Math.min(k, card);
  return { temperature, top_k: Array.isArray(top_k) ? top_k.map(least) : least(top_k), top_p, min_p };
}

/** What every recipe begins with, in Python's order; `facts` come behind the seed. */
export const head = (info, seed, facts, sampling) => ({
  bundle: info.name,
  bundle_hash: info.hash,
  seed,
  ...facts,
  sampling: clamped({ ...info.sampling, ...sampling }, info.spec.card),
  precision: info.precision,
  backend: "onnx",
});

export function checkedTempo(bpm, [slowest, fastest]) {
  if (!(slowest <= bpm && bpm <= fastest)) throw new Error(`a tempo is ${slowest} to ${fastest} BPM, got ${bpm}`);
}

export function checkedBars(bars, most) {
  if (!(Number.isInteger(bars) && bars >= 1 && bars <= most)) throw new Error(`expected 1 to ${most} bars, got ${bars}`);
}

/** A clip's name of what says which it is. */
export const named = (words) => words.filter((word) => word !== undefined).join("_");
