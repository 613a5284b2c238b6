// What the drums sound with: the kit that ships, one-shots of the user's, or a MIDI device.

import { field, make, say } from "./dom.js";
import { RATE } from "./kit.js";
import { soundOf } from "./prompt_view.js";
import * as shelf from "./shelf.js";

const LONGEST = 10; // s of a one-shot

export class KitView {
  /** `beats` plays, `classes` are the map's, `title(name)` its words for people. */
  constructor(beats, classes, title) {
    Object.assign(this, { beats, classes, title, rows: new Map() });
    this.list = make("ul", { class: "kit", role: "list" }, ...classes.map((one) => this.row(one)));
    this.device = make("select", { id: "midi-out", onchange: () => this.send() }, make("option", { value: "" }, "the kit"));
    this.find = make("button", { id: "midi-find", onclick: () => this.devices() }, "Find MIDI devices");
    this.element = make(
      "details",
      { id: "kit" },
      make("summary", {}, "Sounds and MIDI out"),
      make("p", { class: "quiet" }, "Drop a one-shot on a lane, or choose one; it stays on this device."),
      this.list,
      make("div", { class: "row" }, field("Play on", this.device), this.find),
    );
    shelf.kept("one-shot").then((all) => all.forEach((one) => this.put(one)));
  }

  row(one) {
    const file = make("input", {
      type: "file",
      accept: "audio/*",
      class: "unseen",
      tabindex: -1,
      "aria-label": `A sound for ${this.title(one.name)}`,
      onchange: () => this.take(one.name, file.files[0]),
    });
    const name = make("span", { class: "quiet" }),
      back = make("button", { hidden: true, onclick: () => this.drop(one) }, "Back to the kit's");
    const words = this.title(one.name),
      button = (text, act) => make("button", { "aria-label": `${text} ${words}`, onclick: act }, text);
    this.rows.set(one.name, { name, back });
    return make(
      "li",
      { class: "row" },
      make("span", { class: "lane" }, words),
      button("Hear", () => this.beats.hear(one.write)),
      button("Choose", () => file.click()),
      file,
      back,
      name,
    );
  }

  /** A sound file for a lane. */
  async take(lane, file) {
    if (!file) return;
    try {
      const wav = await soundOf(file, file.name, RATE);
      if (wav.length > LONGEST * RATE) throw new Error(`${file.name} lasts more than the ${LONGEST} s of a one-shot`);
      const one = { kind: "one-shot", id: `one-shot ${lane}`, at: Date.now(), lane, name: file.name, wav };
      await shelf.keep(one);
      this.put(one);
      say(`${this.title(lane)} sounds as ${file.name} now.`);
      this.beats.hear(this.classes.find(({ name }) => name === lane).write);
    } catch (error) {
      say(error.message, true);
    }
  }

  put({ lane, name, wav }) {
    const one = this.classes.find((other) => other.name === lane);
    if (!one) return;
    const buffer = new AudioBuffer({ length: wav.length, sampleRate: RATE, numberOfChannels: 1 });
    buffer.copyToChannel(wav, 0);
    this.beats.own.set(one.write, buffer);
    this.rows.get(lane).name.textContent = name;
    this.rows.get(lane).back.hidden = false;
  }

  async drop(one) {
    this.beats.own.delete(one.write);
    this.rows.get(one.name).name.textContent = "";
    this.rows.get(one.name).back.hidden = true;
    await shelf.drop(`one-shot ${one.name}`);
  }

  async devices() {
    try {
      const found = await this.beats.out.devices();
      this.device.replaceChildren(
        make("option", { value: "" }, "the kit"),
        ...found.map(({ id, name }) => make("option", { value: id }, name)),
      );
      say(found.length ? `${found.length} MIDI device${found.length > 1 ? "s" : ""}: choose one below.` : "There is no MIDI device.");
    } catch (error) {
      say(error.message, true);
    }
  }

  send() {
    this.beats.stop();
    this.beats.out.choose(this.device.value);
  }
}
