// What is kept: as on the page in the browser's store, and as files in the workspace's clips/kept.

import { post, reach } from "./api.js";
import { say } from "./dom.js";
import { dumps } from "./engine/packing.js";
import * as page from "./page/shelf.js";

export const { kept } = page;
const KINDS = ["sound", "drums", "notes", "song"]; // of records that are clips

export async function keep(record) {
  if (!record.recipe) return page.keep(record); // no clip
  const before = await find(record.id);
  let files = before?.files;
  try {
    if (!files) {
      const body = dumps({ recipe: record.recipe, index: record.index });
      const response = await reach("api/keep", { method: "POST", body });
      const said = await response.json();
      if (!response.ok) throw new Error(said.error);
      ({ files } = said);
      say(`Kept as ${files[0]}`);
    }
  } catch (error) {
    say(error.message, true);
  }
  return page.keep({ ...record, files });
}

export async function drop(id) {
  const record = await find(id);
  if (record?.files) await post("drop", { file: record.files.at(-1) }).catch((error) => say(error.message, true));
  return page.drop(id);
}

async function find(id) {
  const all = await Promise.all(KINDS.map(kept));
  return all.flat().find((one) => one.id === id);
}
