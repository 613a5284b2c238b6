// What can be begun with: MIDI files that are dropped on the page or chosen. Each becomes a clip.

import { chooseFiles, make, say } from "./dom.js";
import { kindOf } from "./files.js";

const LARGEST = 5e6; // bytes
const EXPECTED = "expected a MIDI file (.mid) with notes, of type 0 or 1, such as every DAW exports";

export class BeginView {
  /** `heard(bytes, name)` promises what a file is, `{text}` to say and whatever `made` takes, or fails in words. */
  constructor(id, heard, made) {
    Object.assign(this, { heard, made });
    this.element = make(
      "fieldset",
      { id: `${id}-begin` },
      make("legend", {}, "Begin with a MIDI file: drop it anywhere on the page"),
      make(
        "div",
        { class: "row" },
        ...chooseFiles(`${id}-file`, "A MIDI file to begin with", ".mid,.midi,.rmi,.kar,audio/midi", (files) => this.take(files)),
      ),
    );
  }

  /** Files that were dropped or chosen. */
  async take(files) {
    const said = [];
    let wrong = false;
    for (const file of files) {
      try {
        const found = await this.read(file);
        this.made(found);
        said.push(found.text);
      } catch (error) {
        wrong = true;
        said.push(error.message);
      }
    }
    if (said.length) say(said.join(" "), wrong);
  }

  async read(file) {
    const bytes = await midiBytes(file);
    try {
      return await this.heard(bytes, file.name);
    } catch (error) {
      throw new Error(`${file.name} ${error.message}; ${EXPECTED}.`);
    }
  }
}

/** A MIDI file's bytes. Throws in words. */
async function midiBytes(file) {
  if ((await kindOf(file)) === "sound")
    throw new Error(`${file.name} is a sound, ${EXPECTED}; a sound is taken by the tab Sampler.`);
  if (file.size > LARGEST)
    throw new Error(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB, and a MIDI file has ${LARGEST / 1e6} at most here.`);
  return new Uint8Array(await file.arrayBuffer());
}
