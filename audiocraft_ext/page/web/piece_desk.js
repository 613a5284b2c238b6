// What the view of scores has to know of pieces: their settings, what can be done with one, its notes and files.

import { factsOf, MIDI } from "./begin_view.js";
import { field, make, seedOf } from "./dom.js";
import { familiesOf, MEASURED, nameOf, NO, YES } from "./engine/describe.js";
import { TICKS } from "./engine/midi.js";
import { DRUMS, programOf } from "./engine/multitrack.js";
import { changed, instrumentFor, instrumentsOf, partsOf, pieceFiles, pieceRecipe, pieceStem, scoreOf } from "./engine/pieces.js";
import { jsonFile, midiFile } from "./files.js";
import { knob, list, number, pick, shownTempo, temperatureOf, usual } from "./knobs.js";

const METERS = ["4/4", "3/4", "6/8", "2/4", "5/4", "7/8"];
const HOW = [
  ["build", "one after the other, and no others"],
  ["only", "all at once, and no others"],
  ["with", "all at once, and others may"],
];
const title = (name) => name[0].toUpperCase() + name.slice(1);

export class PieceDesk {
  static texts = { kind: "notes", one: "piece", heading: "A piece", list: "Pieces" };
  static begin = { ...MIDI, id: "notes", sounds: "the tab Sampler begins with a sound" };

  constructor(info) {
    this.info = info;
    const fields = info.codec.prompts?.fields || [];
    this.levels = fields.filter(({ name }) => MEASURED.includes(name)).map(({ name, words }) => ({ name, ...knob(name, words, "piece") }));
    this.ticked = new Set(); // in the order in which they were ticked, which is the one in which they are made
    this.parts = familiesOf(info).map((name) => this.part(name));
    this.how = list(HOW);
    this.bpm = number(120, 20, 400, "any");
    this.bars = number(8, 1, 256, 1);
    this.meter = list(METERS);
    this.seed = make("input", { inputmode: "numeric", placeholder: "random", autocomplete: "off", id: "notes-seed" });
    this.temperature = temperatureOf(info);
    this.n = number(1, 1, 32, 1);
    this.n.id = "notes-n";
    this.element = make(
      "div",
      { class: "knobs" },
      make("fieldset", {}, make("legend", {}, "Parts; none ticked leaves them to the model"), make("div", { class: "row" }, ...this.parts)),
      make("div", { class: "fields" }, field("The ticked ones play", this.how), ...this.levels.map(({ element }) => element)),
      make(
        "div",
        { class: "fields" },
        ...usual(this),
        field("How many", this.n),
      ),
    );
    this.element.querySelector(".field").classList.add("double");
    this.added = list(familiesOf(info).map((name) => [name, title(name)]));
    this.added.setAttribute("aria-label", "Part to add");
    [this.from, this.to] = ["First bar that is made anew", "Last bar that is made anew"].map((label, i) => {
      const input = number(1 + 3 * i, 1, 256, 1);
      input.setAttribute("aria-label", label);
      return input;
    });
  }

  part(name) {
    const box = make("input", {
      type: "checkbox",
      id: `part-${name}`,
      onchange: () => (box.checked ? this.ticked.add(name) : this.ticked.delete(name)),
    });
    return make("span", { class: "check" }, box, make("label", { for: box.id }, title(name)));
  }

  get many() {
    return this.n.valueAsNumber;
  }

  show({ recipe, codes }) {
    this.bpm.value = shownTempo(recipe.bpm);
    this.bars.value = recipe.bars;
    pick(this.meter, recipe.meter.join("/"));
    if (this.added.value === "drums" && instrumentsOf(codes).includes(DRUMS)) this.added.value = "bass";
    for (const input of [this.from, this.to]) input.value = Math.min(input.valueAsNumber || 1, recipe.bars);
  }

  /** What is asked for. Throws in words. */
  asked() {
    const words = Object.fromEntries(this.levels.map(({ name, value }) => [name, value()])),
      ticked = [...this.ticked],
      how = ticked.length ? this.how.value : "",
      parts = [];
    if (how === "build") for (const name of ticked) parts.push(instrumentFor(this.info, name, parts));
    if (how === "with") for (const name of ticked) words[name] = YES;
    if (how === "only") for (const name of familiesOf(this.info)) words[name] = this.ticked.has(name) ? YES : NO;
    return {
      words,
      parts,
      seed: seedOf(this.seed.value),
      bpm: this.bpm.valueAsNumber,
      bars: this.bars.valueAsNumber,
      meter: this.meter.value.split("/").map(Number),
      sampling: { temperature: Number(this.temperature.value) },
    };
  }

  recipe(asked) {
    return pieceRecipe(this.info, asked);
  }

  /** What begin_view.js asks for. */
  async heard(bytes) {
    const { pieceOf } = await import("./engine/piece_source.js"),
      clip = pieceOf(this.info, bytes),
      frames = clip.codes[0].length,
      { context } = this.info;
    if (frames > context) clip.remarks.push(`of its ${frames} notes and bar lines the model hears ${context} at once`);
    return { ...clip, about: `${factsOf(clip.recipe)}, ${frames - clip.recipe.bars} notes` };
  }

  /** What can be made of a piece: rows of inputs and buttons `[id, text, asked(clip)]`. */
  get changes() {
    const plain = () => ({ ...this.asked(), words: {}, parts: [] });
    return [
      [["piece-more", "4 bars more", (clip) => changed(clip, "continue", plain())]],
      [
        this.added,
        [
          "piece-add",
          "Add this part",
          (clip) =>
            changed(clip, "add", { ...plain(), parts: [instrumentFor(this.info, this.added.value, instrumentsOf(clip.codes))] }),
        ],
      ],
      [
        this.from,
        make("span", { class: "quiet" }, "to"),
        this.to,
        [
          "piece-fill",
          "New in these bars",
          (clip) => changed(clip, "infill", { ...plain(), span: [this.from.valueAsNumber, this.to.valueAsNumber] }),
        ],
      ],
    ];
  }

  /** What the button beside a part of a piece makes. */
  anew(clip, part) {
    return changed(clip, "reroll", { ...this.asked(), words: {}, parts: [part] });
  }

  /** See roll_view.js; with `bpm`, and `key` and `program` of each part. */
  picture(clip) {
    const score = scoreOf(this.info, clip),
      order = partsOf(score).sort((a, b) => a - b),
      [over, under] = clip.recipe.meter;
    return {
      notes: score.notes.map(([start, length, part, ...rest]) => [start, length, order.indexOf(part), ...rest]),
      parts: order.map((part) => ({
        key: part,
        name: nameOf(this.info, part),
        drums: part === DRUMS,
        program: part === DRUMS ? null : programOf(part),
      })),
      bars: score.bars,
      barTicks: (TICKS * 4 * over) / under,
      beatTicks: (TICKS * 4) / under,
      bpm: score.bpm,
    };
  }

  stem = pieceStem;

  files(clip, stem) {
    const { midi, json } = pieceFiles(this.info, clip, stem);
    return {
      midi: midiFile(stem, midi),
      json: jsonFile(stem, json),
    };
  }
}
