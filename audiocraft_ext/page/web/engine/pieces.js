// Pieces of several instruments: the twin of audiocraft_ext/notes/play/composer.py, midi.py and output.py.

import { Arranger } from "./arrange.js";
import { familiesOf, familyOf, MEASURED, measures, meterWord, miss, nameOf, NO, YES } from "./describe.js";
import { CHANNELS, DRUMS as DRUM_CHANNEL, HIT, midiBytes, nameEvent, noteEvents, programEvent, TICKS, timeEvents } from "./midi.js";
import { DRUMS, INSTRUMENT, Multitrack, ordered as inOrder, programOf, PROGRAMS, untilNext, VOICES, without } from "./multitrack.js";
import { rounded } from "./numbers.js";
import { dumps, pack, sha256, unpack } from "./packing.js";
import { AS_IT_IS, checkedBars, checkedTempo, head, named } from "./spec.js";
import { candidates, ordered, tempoWord } from "./words.js";

const GUIDANCE = 1.5,
  TAKES = 4,
  MORE = 4;
const FLOATS = { floats: new Set(["bpm", "temperature", "top_p", "min_p", "guidance", "seconds", ...MEASURED]) };
const OUTPUT = { picture: false, wav: false, soundfont: null, rate: 44100, tracks: false };
const plays = (info, instruments) => new Set(instruments.map((one) => familyOf(info, one)));

/** The instruments that play in codes, in order. */
export const instrumentsOf = (codes) => [...new Set(without(codes, () => false)[1].filter((_, t) => codes[0][t] > 1))];

/** The instrument that a family's name stands for: its first program (of basses the finger bass), of one that is among
 * `there` already a further part. */
export function instrumentFor(info, family, there) {
  if (family === "drums") {
    if (there.includes(DRUMS)) throw new Error("there are drums already: make them anew instead");
    return DRUMS;
  }
  const program = family === "bass" ? 33 : 8 * (familiesOf(info).indexOf(family) - 1);
  for (let voice = 0; voice < VOICES; voice++) {
    const one = 1 + voice * PROGRAMS + program;
    if (!there.includes(one)) return one;
  }
  throw new Error(`there are ${VOICES} parts of ${nameOf(info, 1 + program)} already`);
}

/** What a piece is a function of, besides its index.
 *
 * `asked`: bars, bpm, meter, seed (a BigInt), sampling, `words` by field, `parts` (instruments, of a piece that is built
 * of them); and for a change `edit` ("continue", "add", "reroll", "infill" or AS_IT_IS), `source` (codes), `parts` (of
 * "add" and "reroll", those that are made) and `span`, the first and the last bar that "infill" makes anew, from 1. */
export function pieceRecipe(
  info,
  { bars = 8, bpm = 120, meter = [4, 4], seed, sampling = {}, words = {}, parts = [], edit = "", source = null, span = null },
) {
  checkedTempo(bpm, [20, 400]);
  checkedBars(bars, 256);
  new Multitrack(info.codec).barParts(meter);
  const [begin, last] = span || [];
  if (edit === "infill" && !(Number.isInteger(begin) && Number.isInteger(last) && 1 <= begin && begin <= last && last <= bars))
    throw new Error(`expected bars such as 3 to 4, counted from 1, of which the piece has ${bars}; got ${begin} to ${last}`);
  const asked = Object.fromEntries(Object.entries(words).filter(([, word]) => word)),
    made = edit || (parts.length ? "build" : ""),
    families = plays(info, [...parts, ...(source ? instrumentsOf(source) : [])]);
  const named = made === "continue" ? [...families] : made ? familiesOf(info) : [];
  const heard = Object.fromEntries(named.map((name) => [name, families.has(name) ? YES : NO]));
  const facts = { tempo: tempoWord(bpm), meter: meterWord(meter) },
    said = info.codec.prompts && made !== AS_IT_IS ? ordered(info.codec.prompts, { ...facts, ...heard, ...asked }) : {};
  const spoken = Object.keys(asked).length > 0,
    guided = spoken || ["add", "reroll", "build"].includes(made);
  return {
    ...head(info, seed, { bars, bpm, meter }, sampling),
    ...(Object.keys(said).length ? { said } : {}),
    ...(guided ? { guidance: GUIDANCE } : {}),
    ...(made === "infill" || (spoken && ["", "continue"].includes(made)) ? { takes: TAKES } : {}),
    ...(made ? { edit: made } : {}),
    ...(source ? { source: pack(source) } : {}),
    ...(parts.length ? { parts } : {}),
    ...(made === "infill" ? { span: [begin - 1, last] } : {}),
  };
}

/** A recipe's change of a piece: `asked` with what of it stays. */
export const changed = ({ recipe, codes }, edit, asked) => ({
  ...asked,
  edit,
  source: codes,
  meter: recipe.meter,
  bpm: recipe.bpm,
  bars: recipe.bars + (edit === "continue" ? MORE : 0),
});

/** The codes of a piece, 5 arrays [T]. */
export async function playPiece(bundle, recipe, index, { stop = () => false, share = () => {} } = {}) {
  const { info } = bundle,
    codec = new Multitrack(info.codec),
    source = recipe.source ? unpack(recipe.source) : null;
  if (recipe.edit === AS_IT_IS) return source;
  const free = !recipe.edit || recipe.edit === "continue",
    takes = free ? recipe.takes || 1 : 1;
  const refused = new Set(Object.keys(recipe.said || {}).filter((name) => recipe.said[name] === NO));
  const made = await new Arranger(bundle, recipe, source, stop, share).batch(candidates(index, takes));
  const finished = made.map((codes) => inOrder(without(codes, (one) => free && refused.has(familyOf(info, one)))));
  const misses = finished.map((codes) => (takes === 1 ? 0 : miss(info, codec, codes, recipe)));
  const near = finished.filter((_, i) => misses[i] === Math.min(...misses)),
    instruments = near.map((codes) => new Set(codes[INSTRUMENT]).size);
  return near[instruments.indexOf(Math.min(...instruments))];
}

/** The piece as notes, see `Multitrack.decode`. */
export const scoreOf = (info, { recipe, codes }) => new Multitrack(info.codec).decode(codes, recipe.bpm, recipe.meter);

/** The instruments that play in a score, most notes first. */
export function partsOf({ notes }) {
  const counts = new Map();
  for (const [, , instrument] of notes) counts.set(instrument, 1 + (counts.get(instrument) || 0));
  return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([instrument]) => instrument);
}

/** A score as a file of type 1, a track for each part, drums on channel 10; of more than 15 parts the smallest are
 * played by others. */
export function pieceMidi(info, score) {
  const tuned = partsOf(score).filter((part) => part !== DRUMS),
    into = new Map(tuned.map((part) => [part, part]));
  const most = CHANNELS.length,
    family = (part) => Math.floor(programOf(part) / 8);
  for (const part of tuned.slice(most))
    into.set(part, tuned.slice(0, most).find((other) => family(other) === family(part)) ?? tuned[0]);
  const order = [...new Set(into.values())].sort((a, b) => a - b),
    drums = score.notes.some(([, , part]) => part === DRUMS);
  const played = score.notes.map(([start, length, part, ...rest]) => [start, length, into.get(part) ?? DRUMS, ...rest]);
  const gaps = untilNext(played.map(([start, , part, pitch]) => [start, part, pitch])),
    track = new Map([...order, DRUMS].map((part, i) => [part, 1 + i]));
  const rows = played.map(([start, length, part, pitch, velocity], i) => ({
    part,
    length: Math.min(part === DRUMS ? HIT : length, gaps[i]),
    start,
    pitch,
    velocity,
  }));
  rows.sort((a, b) => a.start - b.start || a.pitch - b.pitch || track.get(a.part) - track.get(b.part) || a.length - b.length);
  const tracks = [...order, ...(drums ? [DRUMS] : [])].map((part, i) => {
    const channel = part === DRUMS ? DRUM_CHANNEL : CHANNELS[i];
    const notes = rows.filter((row) => row.part === part);
    return [
      nameEvent(nameOf(info, part)),
      ...(part === DRUMS ? [] : [programEvent(channel, programOf(part))]),
      ...notes.flatMap(({ start, length, pitch, velocity }) => noteEvents(channel, [start, start + length, pitch, velocity])),
    ];
  });
  const end = Math.floor((score.bars * TICKS * 4 * score.meter[0]) / score.meter[1]);
  return midiBytes([timeEvents(score.bpm, score.meter), ...(tracks.length ? tracks : [[]])], end);
}

/** The piece as files: `{stem, midi, json}`; `infer.py --from` makes it again from the JSON. */
export function pieceFiles(info, { recipe, index, codes }, stem = pieceStem(recipe, index)) {
  const score = scoreOf(info, { recipe, codes }),
    midi = pieceMidi(info, score);
  const heard = Object.entries(measures(new Multitrack(info.codec), codes, recipe.meter)),
    parts = partsOf(score).sort((a, b) => a - b);
  const json = dumps(
    {
      format: "micro-musicgen piece",
      version: 1,
      kind: "notes",
      bpm: score.bpm,
      meter: score.meter,
      bars: score.bars,
      seconds: rounded(score.seconds, 6),
      notes: score.notes.length,
      file: `${stem}.mid`,
      recipe,
      index,
      codes: pack(codes),
      sha256: sha256(midi),
      output: OUTPUT,
      files: [`${stem}.mid`],
      about: {
        measured: Object.fromEntries(heard.map(([name, value]) => [name, rounded(value, 2)])),
        parts: Object.fromEntries(
          parts.map((part) => [nameOf(info, part), score.notes.filter((note) => note[2] === part).length]),
        ),
      },
      piece: sha256(dumps([recipe, index], { sorted: true, ...FLOATS })).slice(0, 16),
    },
    { indent: 1, ...FLOATS },
  );
  return { stem, midi, json: `${json}\n` };
}

export const pieceStem = (recipe, index) => named([recipe.bundle, `seed${recipe.seed}`, index, `${Number(recipe.bpm.toPrecision(4))}bpm`]);
