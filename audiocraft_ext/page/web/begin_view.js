// What can be begun with: MIDI files that are dropped on the page or chosen. Each becomes a clip.

import { chooseFiles, make, say } from "./dom.js";
import { bareName, kindOf } from "./files.js";

const LARGEST = 5e6; // bytes
const EXPECTED = "expected a MIDI file (.mid) with notes, of type 0 or 1, such as every DAW exports";

export class BeginView {
  /** `heard(bytes)` promises a MIDI file's clip, `{recipe, index, codes}` with `remarks` and what there is in it, `count`, or
   * fails in words; `made(clip)` takes it. `sounds` says where sounds go. */
  constructor(id, heard, made, sounds) {
    Object.assign(this, { heard, made, sounds });
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
        const { remarks, count, ...clip } = await this.read(file);
        this.made({ ...clip, name: bareName(file.name) });
        said.push(`${[`${file.name}: ${factsOf(clip.recipe)}, ${count}`, ...remarks].join("; ")}.`);
      } catch (error) {
        wrong = true;
        said.push(error.message);
      }
    }
    if (said.length) say(said.join(" "), wrong);
  }

  async read(file) {
    if ((await kindOf(file)) === "sound") throw new Error(`${file.name} is a sound, ${EXPECTED}; ${this.sounds}.`);
    if (file.size > LARGEST)
      throw new Error(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB, and a MIDI file has ${LARGEST / 1e6} at most here.`);
    try {
      return await this.heard(new Uint8Array(await file.arrayBuffer()));
    } catch (error) {
      throw new Error(`${file.name}: ${error.message}; ${EXPECTED}.`);
    }
  }
}

const factsOf = ({ bars, meter, bpm }) =>
  `${bars} bar${bars > 1 ? "s" : ""} of ${meter.join("/")} at ${Number(bpm.toPrecision(4))} BPM`;
