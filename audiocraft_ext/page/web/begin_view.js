// What can be begun with: files that are dropped on the page or chosen. Each becomes a clip.

import { chooseFiles, make, say } from "./dom.js";
import { bareName, dragging, kindOf } from "./files.js";

const LARGEST = 5e6; // bytes
export const MIDI = {
  legend: "Begin with a MIDI file: drop it anywhere on the page",
  label: "A MIDI file to begin with",
  accept: ".mid,.midi,.rmi,.kar,audio/midi",
  expected: "expected a MIDI file (.mid) with notes, of type 0 or 1, such as every DAW exports",
};

export class BeginView {
  /** `what` is such as `MIDI`, with an `id`, and `sounds`, which says where sounds go. `heard(bytes)` promises a file's clip,
   * `{recipe, index, codes}` with `about`, what there is in it, and `remarks`, or fails in words; `made(clip)` takes it. */
  constructor(what, heard, made) {
    Object.assign(this, { what, heard, made });
    const { id, legend, label, accept } = what;
    this.element = make(
      "fieldset",
      { id: `${id}-begin` },
      make("legend", {}, legend),
      make("div", { class: "row" }, ...chooseFiles(`${id}-from-file`, label, accept, (files) => this.take(files))),
    );
  }

  /** Files that were dropped or chosen. */
  async take(files) {
    if (dragging.own) return; // it has not left the page
    const said = [];
    let wrong = false;
    for (const file of files) {
      try {
        const { remarks, about, ...clip } = await this.read(file);
        this.made({ ...clip, name: bareName(file.name) });
        said.push(`${[`${file.name}: ${about}`, ...remarks].join("; ")}.`);
      } catch (error) {
        wrong = true;
        said.push(error.message);
      }
    }
    if (said.length) say(said.join(" "), wrong);
  }

  async read(file) {
    const { expected, sounds } = this.what;
    if ((await kindOf(file)) === "sound") throw new Error(`${file.name} is a sound, ${expected}; ${sounds}.`);
    if (file.size > LARGEST)
      throw new Error(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB, and ${LARGEST / 1e6} are the most here.`);
    try {
      return await this.heard(new Uint8Array(await file.arrayBuffer()));
    } catch (error) {
      throw new Error(`${file.name}: ${error.message}; ${expected}.`);
    }
  }
}

/** Such as "8 bars of 4/4 at 94 BPM". */
export const factsOf = ({ bars, meter, beats, bpm }) =>
  `${bars} bar${bars > 1 ? "s" : ""} of ${meter?.join("/") ?? `${beats} beats`} at ${Number(bpm.toPrecision(4))} BPM`;

/** That the model hears a part of so many bars at once, where it does; `frames` of a bar. */
export function heardOf({ context, spec }, bars, frames) {
  const n = Math.max(1, Math.floor((context - (spec.prompt || 0)) / frames));
  return n < bars ? [`the model hears ${n} of its bars at once`] : [];
}
