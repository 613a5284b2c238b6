// Plays a built page's instruments under Node: `node play.mjs PAGE JOBS.json OUT` with jobs
// `{name, asked, index}`; a `file` is one that is changed, as base64; a `parent` is the number, from 1 on, of the job whose clip weird tools play on.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

const [page, jobs, out] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${page}/${name}`));
const ort = await load("ort/ort.wasm.min.mjs");
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = gunzipSync(readFileSync(`${page}/ort/ort-wasm-simd-threaded.wasm.gz`));
const { open } = await load("engine/bundle.js");
const { playSound, soundFiles } = await load("engine/sound.js");
const { childRecipe, soundRecipe } = await load("engine/recipe.js");
const { beatFiles, beatRecipe, playBeat } = await load("engine/drums.js");
const { changed, pieceFiles, pieceRecipe, playPiece } = await load("engine/pieces.js");
const { longer, playSong, songFiles, songRecipe } = await load("engine/songs.js");
const { beatOf } = await load("engine/beat_source.js");
const { pieceOf } = await load("engine/piece_source.js");
const { sketchOf } = await load("engine/song_source.js");
const { PRESETS, measureOf } = await load("engine/presets.js");
const { joined } = await load("engine/sampler.js");
const { fromPlanes, pack, unpack } = await load("engine/packing.js");

const SCORES = {
  drums: [beatRecipe, playBeat, beatFiles],
  notes: [pieceRecipe, playPiece, pieceFiles],
  song: [songRecipe, playSong, songFiles],
};
const OF_FILES = {
  song: (info, bytes, asked) => longer(sketchOf(info, bytes), asked),
  notes: (info, bytes, asked) => changed(pieceOf(info, bytes), asked.edit, asked),
  drums: (info, bytes, asked) => {
    const { recipe, codes } = beatOf(info, bytes),
      { bars, bpm, meter } = recipe;
    return { ...asked, bpm, meter, source: codes, bars: bars + (asked.edit === "continue" ? 4 : 0) };
  },
};
const read = (path) =>
  existsSync(path) ? new Uint8Array(readFileSync(path)) : fromPlanes(gunzipSync(readFileSync(`${path}.planes.gz`)));
const instruments = JSON.parse(readFileSync(`${page}/instruments.json`)),
  opened = {},
  made = [],
  results = [];
for (const [number, { name, asked, index = 0, source, file, parent }] of JSON.parse(readFileSync(jobs)).entries()) {
  const info = instruments.find((one) => one.name === name);
  opened[name] ??= await open(ort, info, (file) => read(`${page}/${info.path}/${file}`));
  let all = { ...asked, seed: BigInt(asked.seed), ...(source ? { source: unpack(source) } : {}) };
  if (file) all = OF_FILES[info.kind](info, new Uint8Array(Buffer.from(file, "base64")), all);
  const began = performance.now();
  if (SCORES[info.kind]) {
    const [recipeOf, play, filesOf] = SCORES[info.kind],
      recipe = recipeOf(info, all),
      codes = await play(opened[name], recipe, index);
    const files = filesOf(info, { recipe, index, codes });
    writeFileSync(`${out}/${number}.mid`, files.midi);
    if (files.song) writeFileSync(`${out}/${number}.beepbox.json`, files.song);
    writeFileSync(`${out}/${number}.json`, files.json);
    results.push({ codes: pack(codes), stem: files.stem, ms: performance.now() - began });
  } else {
    if (all.prompt) all.prompt = unpack(all.prompt);
    const codes = [],
      wavs = [],
      clips = Object.fromEntries(Object.entries(all.clips || {}).map(([key, other]) => [key, unpack(other)]));
    const from = made[parent - 1],
      preset = PRESETS.find((one) => one.name === all.preset);
    if (preset) all.weird = preset.chain(measureOf(info, from));
    const recipe = from ? childRecipe(info, from, { ...all, clips }) : soundRecipe(info, all);
    let first = 0,
      about = {};
    for await (const piece of playSound(opened[name], recipe, index, () => false)) {
      if (!piece.codes) continue;
      about = piece.about || about;
      codes.push(piece.codes);
      wavs.push(piece.wav);
      if (piece.wav.length) first ||= performance.now() - began;
    }
    const clip = {
      recipe,
      index,
      codes: joined(codes, codes[0].length),
      wav: Float32Array.from(wavs.flatMap((wav) => Array.from(wav))),
      about,
    };
    made[number] = clip;
    const files = soundFiles(info, clip);
    writeFileSync(`${out}/${number}.wav`, files.wav);
    writeFileSync(`${out}/${number}.json`, files.json);
    results.push({ codes: pack(clip.codes), stem: files.stem, ms: performance.now() - began, first });
  }
}
writeFileSync(`${out}/results.json`, JSON.stringify(results));
process.exit(0);
