// What a clip of sound is a function of: the twin of audiocraft_ext/audio/recipe.py and of `Instrument.recipe`.

import { hopOf } from "./codec.js";
import { loopFrames, SHORTEST } from "./loop.js";
import { rint } from "./numbers.js";
import { pack } from "./packing.js";
import { head } from "./spec.js";

const TEMPO = [20, 400],
  LONGEST = 600,
  BEATS = 4,
  USUAL = 18,
  MOST_GUIDANCE = 20;
export const GUIDANCE = 1.8; // how closely the beat is kept, where nobody says; 1 is the model by itself

export const hasMetronome = (info) => (info.spec.controls || 0) === 1;

/** The recipe of a new clip.
 *
 * `asked`: `{seconds}` or `{bpm, bars}`, `seed` (a BigInt), settings of `sampling`, `guidance` (how closely the beat is
 * kept), `loop`, and `prompt`, codes that it begins with. Throws, in words, where it cannot be. */
export function soundRecipe(
  info,
  { seconds = 10, bpm = null, bars = null, seed, sampling = {}, guidance = GUIDANCE, loop = false, prompt = null },
) {
  const rate = info.codec.sample_rate,
    hop = hopOf(info);
  if (bpm === null && !prompt && hasMetronome(info)) bpm = (60 * info.spec.frame_rate) / (info.codec.beat_frames ?? USUAL);
  if (bpm !== null && !(TEMPO[0] <= bpm && bpm <= TEMPO[1]))
    throw new Error(`a tempo is ${TEMPO[0]} to ${TEMPO[1]} BPM, got ${bpm}`);
  if (!(0 <= guidance && guidance <= MOST_GUIDANCE))
    throw new Error(`guidance: 0 to ${MOST_GUIDANCE}, 1 is the model by itself, got ${guidance}`);
  if (bars !== null && !(bars > 0)) throw new Error(`expected more than 0 bars, got ${bars}`);
  if (bars !== null && bpm === null) throw new Error("bars last as long as a tempo says: give one");
  const exact = bars === null ? seconds : (bars * BEATS * 60) / bpm;
  if (!(exact > 0 && exact <= LONGEST))
    throw new Error(`a clip lasts more than 0 and at most ${LONGEST} s here, got ${exact}`);
  const samples =
    bars === null ? Math.max(1, rint(seconds * info.spec.frame_rate)) * hop : Math.max(1, rint(exact * rate));
  const frames = Math.ceil(samples / hop);
  if (prompt && prompt[0].length >= frames)
    throw new Error(
      `the prompt (${(prompt[0].length / info.spec.frame_rate).toFixed(2)} s) fills the clip, which begins with it: ` +
        "ask for a longer clip, or for less of the prompt",
    );
  return recipe(info, { seed, samples, sampling, bpm, bars, guidance, loop, prompt });
}

/** The recipe of a clip that is made of another by a chain of weird tools.
 *
 * @param parent `{recipe, codes, wav}`
 * @param asked `seed` (a BigInt), `weird` (the chain) and `clips`, other clips' codes by the names in it */
export function childRecipe(info, { recipe: from, codes, wav }, { seed, weird, clips = {} }) {
  const samples = Math.min(wav.length, codes[0].length * hopOf(info));
  const bars = from.bars !== undefined && samples === from.samples ? from.bars : null;
  return recipe(info, {
    seed,
    samples: from.loop ? wav.length : samples,
    sampling: from.sampling,
    bpm: from.bpm ?? null,
    bars,
    guidance: from.guidance ?? 1,
    loop: from.loop,
    source: codes,
    weird,
    clips: Object.fromEntries(
      Object.entries(clips).flatMap(([name, other]) => (weird.includes(name) ? [[name, pack(other)]] : [])),
    ),
  });
}

function recipe(info, { seed, samples, sampling, bpm, bars, guidance, loop, prompt, source, weird, clips = {} }) {
  const frames = loopFrames(samples, hopOf(info));
  if (loop && frames < SHORTEST) throw new Error(`a loop lasts ${SHORTEST / info.spec.frame_rate} s or more`);
  return {
    ...head(info, seed, { samples }, sampling),
    ...(bpm === null ? {} : { bpm }),
    ...(bars === null ? {} : { bars }),
    ...(bpm !== null && hasMetronome(info) && guidance !== 1 ? { guidance } : {}),
    ...(loop ? { loop } : {}),
    ...(prompt ? { prompt: pack(prompt) } : {}),
    ...(source ? { source: pack(source) } : {}),
    ...(weird ? { weird } : {}),
    ...(Object.keys(clips).length ? { clips } : {}),
  };
}

/** How many samples a clip has whose frames were `before` and are `after` a chain now; one in bars stays in
 * sixteenths. */
export function samplesAfter(info, { samples, bars, bpm }, before, after) {
  if (before === after) return samples;
  const hop = hopOf(info);
  samples += (after - before) * hop;
  if (bars) {
    const sixteenth = (15 / bpm) * info.codec.sample_rate,
      exact = rint(rint(samples / sixteenth) * sixteenth);
    if (exact > 0 && Math.abs(exact - samples) < hop) samples = exact;
  }
  return Math.min(samples, after * hop);
}

const short = (x) => String(Number(x.toPrecision(6)));
export const stemOf = (recipe, index) =>
  `${recipe.bundle}_seed${recipe.seed}_${index}${recipe.bpm ? `_${short(recipe.bpm)}bpm` : ""}`;
