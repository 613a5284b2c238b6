// Clips of sound: the twin of audiocraft_ext/audio/instrument.py, recipe.py and metronome.py.

import { Decoder } from "./decoder.js";
import { GuidedStepper } from "./guidance.js";
import { rint } from "./numbers.js";
import { dumps, pack, sha256 } from "./packing.js";
import { stream } from "./sampler.js";
import { clamped, clipSpec } from "./spec.js";
import { levelled, wavBytes } from "./wav.js";

const FLOATS = { floats: new Set(["bpm", "bars", "guidance", "temperature", "top_p", "min_p", "frame_rate", "gain_db"]) };
const OUTPUT = { rate: null, bits: 16, peak: null, lufs: null, cues: false, slices: false };
const TEMPO = [20, 400],
  LONGEST = 600,
  BEATS = 4,
  STEPS = 96,
  USUAL = 18,
  GUIDANCE = 2;

const hasMetronome = (info) => (info.spec.controls || 0) === 1;
export const hopOf = (info) => rint(info.codec.sample_rate / info.spec.frame_rate);

/** What a clip is a function of, besides its index. `asked`: `{seconds}` or `{bpm, bars}`, `seed` (a BigInt), and
 * settings of `sampling`. Throws, in words, where it cannot be. */
export function soundRecipe(info, { seconds = 10, bpm = null, bars = null, seed, sampling = {}, guidance = GUIDANCE }) {
  const rate = info.codec.sample_rate,
    hop = hopOf(info);
  if (bpm === null && hasMetronome(info)) bpm = (60 * info.spec.frame_rate) / (info.codec.beat_frames ?? USUAL);
  if (bpm !== null && !(TEMPO[0] <= bpm && bpm <= TEMPO[1]))
    throw new Error(`a tempo is ${TEMPO[0]} to ${TEMPO[1]} BPM, got ${bpm}`);
  if (bars !== null && !(bars > 0)) throw new Error(`expected more than 0 bars, got ${bars}`);
  if (bars !== null && bpm === null) throw new Error("bars last as long as a tempo says: give one");
  const exact = bars === null ? seconds : (bars * BEATS * 60) / bpm;
  if (!(exact > 0 && exact <= LONGEST))
    throw new Error(`a clip lasts more than 0 and at most ${LONGEST} s here, got ${exact}`);
  const samples =
    bars === null ? Math.max(1, rint(seconds * info.spec.frame_rate)) * hop : Math.max(1, rint(exact * rate));
  return {
    bundle: info.name,
    bundle_hash: info.hash,
    seed,
    samples,
    sampling: clamped({ ...info.sampling, ...sampling }, info.spec.card),
    precision: info.precision,
    backend: "onnx",
    ...(bpm === null ? {} : { bpm }),
    ...(bars === null ? {} : { bars }),
    ...(hasMetronome(info) && guidance !== 1 ? { guidance } : {}),
  };
}

/** Make a clip; yields `{codes, wav}` while it is made: K arrays [t] and `Float32Array [n]`, of which one may be empty. */
export async function* playSound(bundle, recipe, index, stop) {
  const { info } = bundle,
    { spec } = info,
    frames = Math.ceil(recipe.samples / hopOf(info));
  const K = spec.n_q - (spec.controls || 0),
    decoder = new Decoder(bundle.ort, bundle.front, bundle.back, info.decoder, K);
  const none = Array.from({ length: K }, () => new Int32Array(0));
  let left = recipe.samples;
  const stepper =
    recipe.guidance === undefined ? bundle.stepper : new GuidedStepper(bundle.stepper, recipe.guidance, spec);
  for await (const piece of stream(stepper, spec, [BigInt(index)], frames, {
    seed: recipe.seed,
    sampling: recipe.sampling,
    window: info.context,
    given: controls(info, recipe, frames),
    stop,
  })) {
    const codes = piece[0].slice(0, K);
    yield { codes, wav: new Float32Array(0) };
    yield* sounds(codes, false);
  }
  if (!stop()) yield* sounds(none, true);

  async function* sounds(codes, last) {
    for await (let wav of decoder.push(codes, last)) {
      wav = wav.subarray(0, left);
      left -= wav.length;
      yield { codes: none, wav };
    }
  }
}

/** What is given of a clip by itself: the metronome of a model that hears one. */
function controls(info, recipe, frames) {
  const { spec } = info,
    K = spec.n_q,
    C = spec.controls || 0;
  if (!C) return undefined;
  const rows = Array.from({ length: K }, (_, k) => (k < K - C ? new Int32Array(0) : new Int32Array(frames)));
  if (recipe.bpm !== undefined && hasMetronome(info)) rows[K - 1] = places(frames, spec.frame_rate, recipe.bpm);
  return [rows];
}

/** Where in the bar each frame lies, `Int32Array [frames]`. */
export function places(frames, frameRate, bpm) {
  return Int32Array.from({ length: frames }, (_, i) => {
    const bars = ((i / frameRate) * bpm) / 60 / BEATS;
    return (Math.floor((bars % 1) * STEPS + 0.02) % STEPS) + 1;
  });
}

/** The clip as files: `{stem, wav, json}`, bytes and text; `infer.py --from` makes it again from the JSON. */
export function soundFiles(info, { recipe, index, codes, wav: raw }, stem = stemOf(recipe, index)) {
  const { wav, about } = levelled(raw),
    rate = info.codec.sample_rate;
  const hash = sha256(dumps(recipe, { sorted: true, ...FLOATS })).slice(0, 16);
  const clip = sha256(dumps([hash, index, OUTPUT], { sorted: true })).slice(0, 16);
  const comment = dumps({ ...recipe, index, clip }, FLOATS);
  const bytes = wavBytes(wav, rate, {
    title: `${recipe.bundle} seed ${recipe.seed} clip ${index}`,
    comment,
    bpm: recipe.bpm,
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
        about,
      },
      { indent: 1, ...FLOATS },
    ) + "\n";
  return { stem, wav: bytes, json };
}

const short = (x) => String(Number(x.toPrecision(6)));
export const stemOf = (recipe, index) =>
  `${recipe.bundle}_seed${recipe.seed}_${index}${recipe.bpm ? `_${short(recipe.bpm)}bpm` : ""}`;
