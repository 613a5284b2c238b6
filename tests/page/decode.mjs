// What the page makes of codes without a model: `node decode.mjs ENGINE_FOLDER CASES.json` prints, as JSON, of each case
// `{kind, info, recipe, codes}` its files, MIDI as base64.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, path] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const { unpack } = await load("packing.js");
const { pieceFiles } = await load("pieces.js");
const { songFiles } = await load("songs.js");

const made = JSON.parse(readFileSync(path)).map(({ kind, info, recipe, codes }) => {
  const clip = { recipe: { ...recipe, seed: BigInt(recipe.seed) }, index: 0, codes: unpack(codes) };
  const files = kind === "notes" ? pieceFiles(info, clip) : songFiles(info, clip);
  return { ...files, midi: Buffer.from(files.midi).toString("base64") };
});
console.log(JSON.stringify(made));
