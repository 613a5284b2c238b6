// Songs of BeepBox: the twin of songs/play/sketcher.py and output.py and of songs/to_midi.py.

import { Stopped } from "./arrange.js";
import { songJson, songUrl, soundOf } from "./beepbox.js";
import { CHANNELS, DRUMS, midiBytes, nameEvent, noteEvents, programEvent, TICKS, timeEvents } from "./midi.js";
import { dumps, pack, sha256, unpack } from "./packing.js";
import { joined, stream } from "./sampler.js";
import { stepsOf } from "./sequence.js";
import { checkedBars, checkedTempo, head, named } from "./spec.js";
import { barFrames, CHORD, PARTS, placesOf, songOf, sounding } from "./voices.js";
import { ordered, promptCodes, tempoWord } from "./words.js";

const HITS = [36, 41, 45, 48, 40, 39, 59, 49, 46, 55, 69, 54]; // drums that BeepBox's drum set stands for
const PART = TICKS / PARTS,
  LOUD = 100, // a velocity
  LOWEST = 12, // MIDI's pitch of pitch 0 in C
  MORE = 4;
const FLOATS = { floats: new Set(["temperature", "top_p", "min_p", "seconds"]) };
const OUTPUT = { picture: false, wav: false, soundfont: null, rate: 44100 };
const LIMITS = { channels: [1, 10], drums: [0, 5], beats: [3, 16], key: [0, 11] };

/** What a song is a function of, besides its index.
 *
 * `asked`: bars, bpm, channels (of pitches), drums (channels of noise), rhythm (steps a beat), beats (a bar), key
 * (semitones above C), seed (a BigInt), sampling; and `source`, the codes of a song that it begins with. */
export function songRecipe(
  info,
  { bars = 8, bpm = 120, channels = 3, drums = 1, rhythm = 4, beats = 4, key = 0, seed, sampling = {}, source = null },
) {
  checkedTempo(bpm, [30, 300]);
  if (!Number.isInteger(bpm)) throw new Error(`BeepBox counts whole beats a minute, got ${bpm}`);
  checkedBars(bars, 128);
  for (const [name, value] of Object.entries({ channels, drums, beats, key })) {
    const [low, high] = LIMITS[name];
    if (!(Number.isInteger(value) && low <= value && value <= high)) throw new Error(`${name}: ${low} to ${high}, got ${value}`);
  }
  return {
    ...head(info, seed, { bars, bpm }, sampling),
    beats,
    rhythm,
    channels,
    drums,
    ...(key ? { key } : {}),
    ...(source ? { source: pack(source) } : {}),
  };
}

/** A recipe that goes on from a song: `asked` with what of it stays. */
export const longer = ({ recipe, codes }, asked) => {
  const { bars, bpm, channels, drums, rhythm, beats, key } = recipe;
  return { ...asked, bpm, channels, drums, rhythm, beats, key, source: codes, bars: bars + MORE };
};

/** The model's context in frames, such that the next window begins with a bar, else with a beat, else with a step. */
export function windowOf({ spec, context }, recipe) {
  const limit = Math.floor((stepsOf(context, spec.delays) - (spec.prompt || 0)) / 2),
    C = recipe.channels + recipe.drums;
  const hops = [barFrames(recipe), recipe.rhythm * C, C].map((unit) => Math.floor(limit / unit) * unit);
  return 2 * (hops.find((hop) => hop > Math.floor(limit / 2)) ?? limit) + (spec.prompt || 0) - stepsOf(0, spec.delays);
}

/** The codes of a song, 4 arrays [T]. */
export async function playSong({ info, stepper }, recipe, index, { stop = () => false, share = () => {} } = {}) {
  const { prompts } = info.codec,
    P = info.spec.prompt || 0,
    frames = P + recipe.bars * barFrames(recipe);
  const words = {
    rhythm: String(recipe.rhythm),
    channels: String(recipe.channels),
    drums: String(recipe.drums),
    beats: String(recipe.beats),
    tempo: tempoWord(recipe.bpm),
  };
  const prompt = prompts ? promptCodes(prompts, ordered(prompts, words)) : Array.from({ length: CHORD }, () => []),
    source = recipe.source ? unpack(recipe.source) : null;
  const known = prompt.map((row, k) => Int32Array.from([...row, ...(source ? source[k] : [])])),
    where = placesOf(recipe, frames - P).map((row) => Int32Array.from([...Array(P).fill(0), ...row])),
    given = [...known, ...where.slice(0, info.spec.controls || 0)],
    { seed, sampling } = recipe,
    pieces = [];
  let made = 0,
    stopped = false;
  const how = { seed, sampling, given: [given], window: windowOf(info, recipe) };
  how.stop = async () => (stopped = await stop());
  for await (const [piece] of stream(stepper, info.spec, [BigInt(index)], frames, how)) {
    pieces.push(piece);
    share((made += piece[0].length) / frames);
  }
  if (stopped) throw new Stopped();
  return joined(pieces, CHORD).map((row) => row.slice(P));
}

/** The notes of a song by channel: `{name, noise, program, notes}`, notes `[start, end, pitch]` in ticks and as MIDI. */
export function tracksOf(song) {
  return song.channels.map((channel, i) => ({
    name: channel.noise ? `drums ${i + 1 - song.pitched}` : `channel ${i + 1}`,
    noise: channel.noise,
    program: soundOf(channel).program,
    notes: sounding(channel, song.beats * PARTS).flatMap(({ start, length, pitches }) =>
      pitches.map((pitch) => [
        start * PART,
        (start + length) * PART,
        channel.noise ? HITS[pitch] : Math.min(pitch + LOWEST + song.key, 127),
        LOUD,
      ]),
    ),
  }));
}

/** A song as a file of type 1, a track a channel, noise on channel 10. */
export function songMidi(song) {
  const tracks = tracksOf(song).map(({ name, noise, program, notes }, i) => {
    const channel = noise ? DRUMS : CHANNELS[i];
    return [
      nameEvent(name),
      ...(noise ? [] : [programEvent(channel, program)]),
      ...[...notes].sort((a, b) => a[0] - b[0] || a[2] - b[2]).flatMap((note) => noteEvents(channel, note)),
    ];
  });
  const end = song.bars * song.beats * PARTS * PART;
  return midiBytes([timeEvents(song.bpm, [song.beats, 4], song.key), ...tracks], end);
}

/** The song as files: `{stem, song, url, midi, json}`; `infer.py --from` makes them again from the last. */
export function songFiles(info, { recipe, index, codes }, stem = songStem(recipe, index)) {
  const song = songOf(codes, recipe),
    text = songJson(song),
    url = songUrl(song);
  const json = dumps(
    {
      format: "micro-musicgen song",
      version: 1,
      kind: "song",
      bpm: song.bpm,
      beats: song.beats,
      bars: song.bars,
      seconds: Math.round(((song.bars * song.beats * 60) / song.bpm) * 1e6) / 1e6,
      notes: tracksOf(song).reduce((sum, { notes }) => sum + notes.length, 0),
      file: `${stem}.beepbox.json`,
      recipe,
      index,
      codes: pack(codes),
      sha256: sha256(text),
      output: OUTPUT,
      files: [`${stem}.beepbox.json`, `${stem}.url.txt`, `${stem}.mid`],
      about: {},
      sketch: sha256(dumps([recipe, index], { sorted: true, ...FLOATS })).slice(0, 16),
    },
    { indent: 1, ...FLOATS },
  );
  return { stem, song: text, url, midi: songMidi(song), json: `${json}\n` };
}

export const songStem = (recipe, index) => named([recipe.bundle, `seed${recipe.seed}`, index, `${recipe.bpm}bpm`]);
