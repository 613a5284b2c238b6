// What the page reads in files: `node read.mjs ENGINE_FOLDER CASES.json` prints, as JSON, of each case `{kind, info,
// file}`, the file as base64, `{midi, clip}`, `midi` for pieces only, or what is wrong with it as `{error}`.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, path] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const { parse } = await load("midi_file.js");
const { pack } = await load("packing.js");
const CLIPS = { notes: (await load("piece_source.js")).pieceOf, drums: (await load("beat_source.js")).beatOf, song: (await load("song_source.js")).sketchOf };

function attempt(read) {
  try {
    return read();
  } catch (error) {
    return { error: error.message };
  }
}

const read = JSON.parse(readFileSync(path)).map(({ kind, info, file }) => {
  const bytes = new Uint8Array(Buffer.from(file, "base64"));
  const midi = kind === "notes" ? attempt(() => parse(bytes)) : {},
    clip = attempt(() => CLIPS[kind](info, bytes));
  const rows = (table) => table.map((row) => Object.values(row));
  if (midi.notes)
    for (const name of ["notes", "programs", "controls", "bends"]) midi[name] = rows(midi[name]);
  if (midi.names) midi.names = [...midi.names];
  if (clip.recipe) clip.recipe.seed = Number(clip.recipe.seed);
  return { midi, clip: clip.codes ? { ...clip, codes: pack(clip.codes), remarks: clip.remarks.join("; ") } : clip };
});
console.log(JSON.stringify(read));
