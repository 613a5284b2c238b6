// Clips of sound: the twin of audiocraft_ext/audio/instrument.py, clips.py and metronome.py.

import { decode, decoderOf, hopOf } from "./codec.js";
import { GuidedStepper } from "./guidance.js";
import { makeLoop } from "./loop.js";
import { dumps, pack, sha256, unpack } from "./packing.js";
import { hasMetronome, samplesAfter, stemOf } from "./recipe.js";
import { generate, joined, stream } from "./sampler.js";
import { clipSpec } from "./spec.js";
import { levelled, wavBytes } from "./wav.js";
import * as weird from "./weird.js";

const FLOATS = {
  floats: new Set(
    ("bpm bars guidance temperature top_p min_p frame_rate gain_db code_match code_match_inside spectral_match cents click " +
      "click_percentile click_inside flux flux_percentile flux_inside").split(" "),
  ),
};
const OUTPUT = { rate: null, bits: 16, peak: null, lufs: null, cues: false, slices: false };
const LONG = ["prompt", "source", "clips"]; // left out of the comment in the WAV
const BEATS = 4,
  STEPS = 96;

/** Make a clip; yields pieces while it is made: `{codes, wav}`, K arrays [t] and `Float32Array [n]`, of which one may be
 * empty. All of them together are the clip.
 *
 * A loop, and what weird tools make of another clip, comes as one piece with what there is to say of it,
 * `{codes, wav, about}`; before it `{share}` says how much is done, and `{preview}` is sound to listen to meanwhile. */
export async function* playSound(bundle, recipe, index, stop) {
  const { info } = bundle,
    { spec } = info,
    stepper = recipe.guidance === undefined ? bundle.stepper : new GuidedStepper(bundle.stepper, recipe.guidance, spec),
    frames = Math.ceil(recipe.samples / hopOf(info));
  const K = spec.n_q - (spec.controls || 0),
    none = Array.from({ length: K }, () => new Int32Array(0)),
    whole = Boolean(recipe.loop || recipe.weird || recipe.source);
  const decoder = decoderOf(bundle),
    pieces = [];
  let left = recipe.samples,
    codes = recipe.source ? unpack(recipe.source) : null;
  if (!codes) {
    for await (const piece of stream(stepper, spec, [BigInt(index)], frames, {
      seed: recipe.seed,
      sampling: recipe.sampling,
      window: info.context,
      given: given(info, recipe.prompt ? unpack(recipe.prompt) : none, frames, recipe.bpm),
      stop,
    })) {
      pieces.push(piece[0].slice(0, K));
      if (!whole) yield { codes: pieces.at(-1), wav: new Float32Array(0) };
      yield* sounds(pieces.at(-1), false);
    }
    if (await stop()) return;
    yield* sounds(none, true);
    codes = joined(pieces, K);
  }
  if (whole) yield* finished();

  async function* sounds(more, last) {
    for await (let wav of decoder.push(more, last)) {
      wav = wav.subarray(0, left);
      left -= wav.length;
      yield whole ? { preview: wav, share: (0.5 * (recipe.samples - left)) / recipe.samples } : { codes: none, wav };
    }
  }

  async function* finished() {
    const { seed, sampling, bpm } = recipe,
      before = codes.length && codes[0].length;
    let { samples } = recipe;
    if (recipe.weird) {
      codes = await weird.play(recipe.weird, codes, {
        spec: clipSpec(spec),
        seed,
        index,
        bpm,
        clips: recipe.clips,
        resample: async (known, own) => {
          const T = known[0].length,
            how = { seed: own, sampling, window: info.context, given: given(info, known, T, bpm), stop };
          return (await generate(stepper, spec, [BigInt(index)], T, how))[0].slice(0, K);
        },
      });
      if (await stop()) return;
      samples = samplesAfter(info, recipe, before, codes[0].length);
      yield { share: 0.6 };
    }
    if (!recipe.loop) {
      yield { codes, wav: (await decode(bundle, codes)).subarray(0, samples), about: {} };
      return;
    }
    const beat = given(info, none, codes[0].length, bpm)?.[0].slice(K),
      how = { seed, index, sampling, bpm, beat, stepper, stop };
    const loop = yield* makeLoop(bundle, codes, samples, how);
    if (loop) yield { codes: loop.codes, wav: loop.wav, about: { loop: loop.report } };
  }
}

/** What is given of a clip: codes that are known, K arrays [T0] without the controls, and the metronome of a model that
 * hears one. */
function given(info, known, frames, bpm) {
  const C = info.spec.controls || 0,
    rows = Array.from({ length: C }, () => new Int32Array(frames));
  if (!C && !known[0].length) return undefined;
  if (bpm && hasMetronome(info)) rows[0] = places(frames, info.spec.frame_rate, bpm);
  return [[...known, ...rows]];
}

/** Where in the bar each frame lies, `Int32Array [frames]`. */
export function places(frames, frameRate, bpm) {
  return Int32Array.from({ length: frames }, (_, i) => {
    const bars = ((i / frameRate) * bpm) / 60 / BEATS;
    return (Math.floor((bars % 1) * STEPS + 0.02) % STEPS) + 1;
  });
}

/** The clip as files: `{stem, wav, json}`, bytes and text; `infer.py --from` makes it again from the JSON. */
export function soundFiles(info, { recipe, index, codes, wav: raw, about = {} }, stem = stemOf(recipe, index)) {
  const { wav, about: level } = levelled(raw),
    rate = info.codec.sample_rate;
  const hash = sha256(dumps(recipe, { sorted: true, ...FLOATS })).slice(0, 16);
  const clip = sha256(dumps([hash, index, OUTPUT], { sorted: true })).slice(0, 16);
  const short = Object.fromEntries(Object.entries(recipe).filter(([name]) => !LONG.includes(name)));
  const bytes = wavBytes(wav, rate, {
    title: `${recipe.bundle} seed ${recipe.seed} clip ${index}`,
    comment: dumps({ ...short, index, clip }, FLOATS),
    bpm: recipe.bpm,
    loop: Boolean(recipe.loop),
  });
  const json =
    dumps(
      {
        format: "micro-musicgen clip",
        version: 1,
        file: `${stem}.wav`,
        sha256: sha256(bytes),
        clip,
        index,
        recipe,
        output: OUTPUT,
        spec: clipSpec(info.spec),
        codes: pack(codes),
        sample_rate: rate,
        samples: wav.length,
        cues: [],
        about: { ...about, ...level },
      },
      { indent: 1, ...FLOATS },
    ) + "\n";
  return { stem, wav: bytes, json };
}
