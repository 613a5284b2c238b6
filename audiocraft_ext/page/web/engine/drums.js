// Beats: the twin of audiocraft_ext/drums/play/drummer.py, sampling.py, edit.py and sidecar.py.

import { DrumGrid, midi } from "./grid.js";
import { GuidedStepper } from "./guidance.js";
import { midiTempo } from "./midi.js";
import { rint } from "./numbers.js";
import { dumps, pack, sha256, unpack } from "./packing.js";
import { Draws } from "./random.js";
import { generate, SOME, UNKNOWN } from "./sampler.js";
import { score } from "./score.js";
import { AS_IT_IS, head } from "./spec.js";
import {
  candidates,
  FACTS,
  measurable,
  measured,
  meterWord,
  nearest,
  ordered,
  promptCodes,
  tempoWord,
} from "./words.js";

const GUIDANCE = 2,
  TAKES = 4,
  TEMPO = [20, 400],
  MOST_BARS = 256;
const FLOATS = { floats: new Set(["bpm", "temperature", "top_p", "min_p", "guidance", "amount", "seconds"]) };
const OUTPUT = { wav: false, picture: false, tracks: false, soundfont: null, kit: null, rate: 44100 };

/** The window in frames, and the bars that the prompt says. */
function windowOf(info, grid, bars, meter) {
  const P = info.spec.prompt || 0,
    bar = grid.barSteps(meter),
    context = info.context;
  if (P + bars * bar <= context) return [context, bars];
  const half = Math.floor(Math.floor((context - P) / 2) / bar);
  return half ? [P + 2 * half * bar, 2 * half] : [context, Math.max(1, Math.floor((context - P) / bar))];
}

/** What a beat is a function of, besides its index.
 *
 * `asked`: bars, bpm, meter, seed (a BigInt), sampling, `words` by field; and for a change of a beat `edit` ("keep",
 * "humanise", "vary", "continue", "infill" or AS_IT_IS), `source` (codes), `keep` (names of classes), `amount`, 0 to 1,
 * and `span`, the first and the last bar that "infill" makes anew, from 1. */
export function beatRecipe(
  info,
  { bars = 4, bpm = 120, meter = [4, 4], seed, sampling = {}, words = {}, edit = "", source = null, keep = [], amount = 0.3, span = null },
) {
  if (!(TEMPO[0] <= bpm && bpm <= TEMPO[1])) throw new Error(`a tempo is ${TEMPO[0]} to ${TEMPO[1]} BPM, got ${bpm}`);
  if (!(Number.isInteger(bars) && bars >= 1 && bars <= MOST_BARS))
    throw new Error(`a beat has 1 to ${MOST_BARS} bars, got ${bars}`);
  const [begin, last] = span || [];
  if (edit === "infill" && !(Number.isInteger(begin) && Number.isInteger(last) && 1 <= begin && begin <= last && last <= bars))
    throw new Error(`infill: expected bars such as 3-4, counted from 1, of which the beat has ${bars}; got ${begin}-${last}`);
  const grid = new DrumGrid(info.codec),
    asIs = edit === AS_IT_IS;
  const asked = Object.fromEntries(Object.entries(words).filter(([, word]) => word));
  const facts = {
    bars: String(windowOf(info, grid, bars, meter)[1]),
    tempo: tempoWord(bpm),
    meter: meterWord(meter),
  };
  const said = asIs || !info.codec.prompts ? {} : ordered(info.codec.prompts, { ...facts, ...asked });
  const conditional = !asIs && Object.keys(asked).length > 0;
  const chosen = edit === "infill" || (conditional && edit !== "humanise" && measurable(asked)),
    takes = chosen ? TAKES : 1;
  return {
    ...head(info, seed, { bars, bpm, meter }, sampling),
    ...(Object.keys(said).length ? { said } : {}),
    ...(edit ? { edit } : {}),
    ...(source ? { source: pack(source) } : {}),
    ...(edit === "keep" ? { keep } : {}),
    ...(edit === "humanise" ? { humanise: "both" } : {}),
    ...(edit === "vary" ? { amount } : {}),
    ...(conditional ? { guidance: GUIDANCE } : {}),
    ...(takes > 1 ? { takes } : {}),
    ...(edit === "infill" ? { span: [begin - 1, last] } : {}),
  };
}

/** Which cells "vary" makes anew, C arrays [T] of bools: the same share of a class's beats with hits and of those without. */
function rerolled(grid, recipe, source, index) {
  const C = grid.classes.length,
    bar = grid.barSteps(recipe.meter),
    beats = Array.from(source[0], (_, t) => Math.floor(t / bar) * bar + Math.floor((t % bar) / (grid.steps / 4)));
  const numbers = [...new Set(beats)].sort((a, b) => a - b),
    at = beats.map((beat) => numbers.indexOf(beat)),
    n = numbers.length;
  const full = new Array(C * n).fill(false),
    draws = new Draws(recipe.seed, index, 1),
    chosen = new Set();
  for (let c = 0; c < C; c++) source[c].forEach((code, t) => code && (full[c * n + at[t]] = true));
  for (const wanted of [true, false]) {
    const group = full.flatMap((one, i) => (one === wanted ? [i] : []));
    for (const i of draws.permutation(group).slice(0, rint(recipe.amount * group.length))) chosen.add(i);
  }
  return Array.from({ length: C }, (_, c) => at.map((beat) => chosen.has(c * n + beat)));
}

/** The given codes of a beat behind its prompt, K arrays. */
function given(info, grid, recipe, index) {
  const K = info.spec.n_q,
    C = grid.classes.length;
  const prompt = info.codec.prompts
    ? promptCodes(info.codec.prompts, recipe.said || {})
    : Array.from({ length: K }, () => new Int32Array(0));
  const source = recipe.source ? unpack(recipe.source) : null,
    anew = recipe.edit === "vary" ? rerolled(grid, recipe, source, index) : null,
    bar = grid.barSteps(recipe.meter);
  return prompt.map((row, k) => {
    if (!source) return row;
    let more = source[k];
    if (recipe.edit === "keep" && !recipe.keep.includes(grid.classes[k % C].name)) more = more.map(() => UNKNOWN);
    if (recipe.edit === "infill") more = more.slice().fill(UNKNOWN, recipe.span[0] * bar, recipe.span[1] * bar);
    if (anew) more = more.map((code, t) => (anew[k % C][t] ? UNKNOWN : code));
    if (recipe.edit === "humanise")
      more = more.map((code, t) => (source[k % C][t] ? (k < C ? SOME : UNKNOWN) : code));
    return Int32Array.from([...row, ...more]);
  });
}

/** The codes of a beat, K arrays [T]. */
export async function playBeat(bundle, recipe, index) {
  const { info } = bundle,
    grid = new DrumGrid(info.codec),
    { spec } = info,
    P = spec.prompt || 0;
  if (recipe.edit === AS_IT_IS) return unpack(recipe.source);
  const takes = recipe.takes || 1,
    frames = P + recipe.bars * grid.barSteps(recipe.meter);
  let { stepper } = bundle;
  if (recipe.guidance !== undefined) {
    const facts = Object.fromEntries(Object.entries(recipe.said).filter(([name]) => FACTS.includes(name)));
    stepper = new GuidedStepper(stepper, recipe.guidance, spec, promptCodes(info.codec.prompts, facts));
  }
  const known = given(info, grid, recipe, index),
    numbers = candidates(index, takes);
  const clips = (
    await generate(stepper, spec, numbers, frames, {
      seed: recipe.seed,
      sampling: recipe.sampling,
      window: windowOf(info, grid, recipe.bars, recipe.meter)[0],
      given: numbers.map(() => known),
    })
  ).map((clip) => clip.map((row) => row.slice(P)));
  if (takes === 1) return clips[0];
  if (recipe.edit === "infill" && recipe.span[1] < recipe.bars) return likeliest(bundle, grid, recipe, clips);
  return clips[
    nearest(
      clips.map((clip) => grid.pattern(clip, recipe.meter)),
      recipe.said || {},
    )
  ];
}

/** Of beats with bars made anew the one after which the model expects the following bar most. */
async function likeliest({ info, stepper }, grid, recipe, clips) {
  const prompt = info.codec.prompts ? promptCodes(info.codec.prompts, recipe.said || {}) : clips[0].map(() => []),
    bar = grid.barSteps(recipe.meter),
    end = recipe.span[1] * bar,
    T = prompt[0].length + end + bar,
    cut = Math.max(0, T - info.context);
  const heard = clips.map((clip) =>
    clip.map((row, k) => Int32Array.from([...prompt[k], ...row.subarray(0, end + bar)]).subarray(cut)),
  );
  const likely = await score(stepper, info.spec, heard, Math.max(0, T - bar - cut));
  return clips[likely.indexOf(Math.max(...likely))];
}

/** The beat as files: `{stem, midi, json}`; `infer.py drums --from` makes it again from the JSON. */
export function beatFiles(info, { recipe, index, codes }, stem = beatStem(recipe, index)) {
  const grid = new DrumGrid(info.codec),
    notes = grid.notes(codes),
    { meter, bars } = recipe;
  const bpm = midiTempo(recipe.bpm),
    bytes = midi(notes, recipe.bpm, meter, bars);
  const hitsOf = {};
  for (const { name, write } of grid.classes) {
    const n = notes.filter(([, pitch]) => pitch === write).length;
    if (n) hitsOf[name] = n;
  }
  const seconds = Math.round(((bars * meter[0] * 4) / meter[1]) * (60 / bpm) * 1e6) / 1e6;
  const json =
    dumps(
      {
        format: "micro-musicgen beat",
        version: 1,
        kind: "drums",
        file: `${stem}.mid`,
        sha256: sha256(bytes),
        beat: sha256(dumps([recipe, index], { sorted: true, ...FLOATS })).slice(0, 16),
        index,
        recipe,
        bpm,
        meter,
        bars,
        seconds,
        hits: notes.length,
        hits_of: hitsOf,
        about: { measured: measured(grid.pattern(codes, meter)) },
        output: OUTPUT,
        files: [`${stem}.mid`],
        codes: pack(codes),
      },
      { indent: 1, ...FLOATS },
    ) + "\n";
  return { stem, midi: bytes, json };
}

export function beatStem(recipe, index) {
  const words = [
    recipe.bundle,
    recipe.said?.genre,
    `seed${recipe.seed}`,
    index,
    `${Number(recipe.bpm.toPrecision(4))}bpm`,
  ];
  return words.filter((word) => word !== undefined).join("_");
}
