// The drums: prompt words as knobs, the grid, and what can be done with a beat.

import { field, make, progress, say, seedOf } from "./dom.js";
import { beatFiles, beatRecipe, beatStem } from "./engine/drums.js";
import { DrumGrid, TICKS } from "./engine/grid.js";
import { download, draggable, plain } from "./files.js";
import { GridView } from "./grid_view.js";
import { Beats } from "./kit.js";
import { ask } from "./maker.js";
import { context } from "./player.js";
import * as shelf from "./shelf.js";
import { FACTS, SCALES } from "./engine/words.js";

const KEYS = [
  ["N", "make a beat"],
  ["Space", "play or stop"],
  ["K", "keep"],
  ["D", "download the MIDI file"],
  ["J", "download the recipe"],
  ["Enter", "set or clear a hit"],
  ["+ −", "its velocity"],
  ["[ ]", "its time"],
  ["Esc", "stop"],
];
const METERS = ["4/4", "3/4", "6/8", "7/8", "5/4"];

export class DrumsView {
  constructor(root, instruments) {
    Object.assign(this, { root, instruments });
    [this.info] = instruments;
    this.grid = new DrumGrid(this.info.codec);
    this.beats = new Beats(
      () => this.sounding(),
      (on) => {
        this.playing.textContent = on ? "Stop" : "Play";
      },
    );
    this.view = new GridView(
      this.grid,
      () => this.edited(),
      (where) => this.picked(where),
    );
    this.build();
    this.show(
      {
        recipe: beatRecipe(this.info, {
          seed: 0n,
          edit: "as it is",
          source: this.grid.empty(4 * this.grid.barSteps([4, 4])),
        }),
        index: 0,
      },
      this.grid.empty(4 * this.grid.barSteps([4, 4])),
    );
    shelf
      .kept("drums")
      .then((all) => all.filter((one) => one.recipe.bundle === this.info.name).forEach((one) => this.list(one)));
    const tick = () => {
      const at = this.beats.position();
      this.view.now(at === null ? null : Math.floor(at / this.grid.stepTicks));
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  build() {
    const number = (value, min, max, step) => make("input", { type: "number", value, min, max, step });
    const prompts =
      this.info.codec.prompts?.fields.filter(({ name, words }) => !FACTS.includes(name) && words.length) || [];
    this.words = prompts.map(({ name, words }) => ({ name, ...knob(name, words) }));
    this.bpm = number(120, 20, 400, "any");
    this.bars = number(4, 1, 32, 1);
    this.meter = make("select", {}, ...METERS.map((one) => make("option", {}, one)));
    this.seed = make("input", { inputmode: "numeric", placeholder: "random", autocomplete: "off", id: "beat-seed" });
    this.temperature = make("input", {
      type: "range",
      min: 0.3,
      max: 1.6,
      step: 0.05,
      value: [this.info.sampling.temperature ?? 1].flat()[0],
    });
    const button = (id, text, act) => make("button", { id, onclick: act }, text);
    this.button = make("button", { class: "main", id: "make-beat", onclick: () => this.make() }, "Make a beat");
    this.fill = button("fill", "New around the ticked lanes", () => this.make("keep"));
    this.humanise = button("humanise", "Humanise", () => this.make("humanise"));
    this.continue = button("continue", "4 bars more", () => this.make("continue"));
    this.playing = button("play-beat", "Play", () => this.toggle());
    this.keeping = button("keep-beat", "Keep", () => this.keep());
    this.midi = make(
      "button",
      { id: "midi", title: "Drag it out as a MIDI file", onclick: () => this.save("midi") },
      "MIDI",
    );
    draggable(this.midi, () => this.file("midi"));
    this.hit = make("p", { class: "quiet", id: "hit" });
    this.velocity = make("input", {
      type: "range",
      min: 0,
      max: this.grid.velocities,
      oninput: () => this.view.set({ velocity: Number(this.velocity.value) }),
    });
    this.offset = make("input", {
      type: "range",
      min: 0,
      max: this.grid.offsets - 1,
      oninput: () => this.view.set({ offset: Number(this.offset.value) }),
    });
    this.title = make("h2", {});
    this.kept = make("ol", { class: "rack", role: "list", "aria-label": "Kept beats" });
    this.root.append(
      make(
        "div",
        { class: "panel" },
        make("h2", {}, "A beat"),
        make("div", { class: "fields" }, ...this.words.map(({ element }) => element)),
        make(
          "div",
          { class: "fields" },
          field("Tempo, BPM", this.bpm),
          field("Bars", this.bars),
          field("Time signature", this.meter),
          field("Seed", this.seed),
          field("Temperature", this.temperature, (value) => Number(value).toFixed(2)),
        ),
        make("div", { class: "row" }, this.button, this.fill, this.humanise, this.continue),
        make(
          "details",
          {},
          make("summary", {}, "Keys"),
          make(
            "p",
            { class: "quiet row" },
            ...KEYS.map(([key, what]) => make("span", {}, make("kbd", {}, key), ` ${what}`)),
          ),
        ),
      ),
      make(
        "div",
        { class: "panel" },
        make(
          "div",
          { class: "row" },
          this.playing,
          this.midi,
          button("beat-recipe", "Recipe", () => this.save("json")),
          this.keeping,
          this.title,
        ),
        this.view.element,
        this.hit,
        make(
          "div",
          { class: "fields" },
          field("Velocity", this.velocity, (value) => (Number(value) ? this.grid.loudness(Number(value)) : "no hit")),
          field(
            "Time",
            this.offset,
            (value) => `${((100 * (value - this.grid.onStep)) / this.grid.offsets).toFixed(0)}% of a step`,
          ),
        ),
      ),
      this.kept,
    );
    this.bpm.addEventListener("change", () => this.tempo());
  }

  /** Show a beat; its codes are copied, for they may be edited. */
  show(beat, codes) {
    this.beat = { ...beat, codes: codes.map((row) => row.slice()), edited: beat.edited || false };
    const { meter } = beat.recipe;
    this.bpm.value = Number(beat.recipe.bpm.toFixed(3));
    this.bars.value = beat.recipe.bars;
    this.meter.value = meter.join("/");
    this.view.show(this.beat.codes, meter);
    this.entitle();
  }

  entitle() {
    this.title.textContent = beatStem(this.now().recipe, this.beat.index) + (this.beat.edited ? " (edited)" : "");
  }

  /** The beat as it is: with its recipe, or, where it was edited, as what it has become. */
  now() {
    const { recipe, index, codes, edited } = this.beat;
    if (!edited) return { recipe, index, codes };
    const { bars, bpm, meter, seed } = recipe;
    return {
      recipe: beatRecipe(this.info, { bars, bpm, meter, seed, edit: "as it is", source: codes }),
      index: 0,
      codes,
    };
  }

  edited() {
    if (!this.beat.edited) {
      this.beat.edited = true;
      this.entitle();
    }
  }

  tempo() {
    const bpm = this.bpm.valueAsNumber;
    if (!(bpm >= 20 && bpm <= 400) || bpm === this.beat.recipe.bpm) return;
    this.beat.recipe = { ...this.beat.recipe, bpm };
    this.edited();
    this.entitle();
  }

  picked({ label, velocity, offset }) {
    this.hit.textContent = label;
    for (const [input, value] of [
      [this.velocity, velocity],
      [this.offset, offset],
    ]) {
      input.value = value;
      const shown = input.parentElement?.querySelector("output");
      if (shown)
        shown.value =
          input === this.velocity
            ? velocity
              ? this.grid.loudness(velocity)
              : "no hit"
            : `${((100 * (offset - this.grid.onStep)) / this.grid.offsets).toFixed(0)}% of a step`;
    }
    this.offset.disabled = !velocity;
  }

  sounding() {
    const { recipe, codes } = this.beat,
      [over, under] = recipe.meter;
    return { notes: this.grid.notes(codes), bpm: recipe.bpm, ticks: (recipe.bars * TICKS * 4 * over) / under };
  }

  async make(edit = "") {
    if (this.making) return;
    let recipe;
    try {
      recipe = beatRecipe(this.info, this.asked(edit));
    } catch (error) {
      return say(error.message, true);
    }
    const began = performance.now();
    this.busy(true);
    let codes = null;
    try {
      await ask("beat", { name: this.info.name, recipe, index: 0 }, ({ loaded, total, codes: made }) => {
        if (total) progress(loaded / total);
        if (made) codes = made;
      }).promise;
      this.show({ recipe, index: 0 }, codes);
      say(`${recipe.bars} bars in ${((performance.now() - began) / 1000).toFixed(2)} s`);
    } catch (error) {
      say(error.message, true);
    }
    this.busy(false);
    return undefined;
  }

  asked(edit) {
    const words = Object.fromEntries(this.words.map(({ name, value }) => [name, value()]));
    const all = {
      words,
      seed: seedOf(this.seed.value),
      bpm: this.bpm.valueAsNumber,
      sampling: { temperature: Number(this.temperature.value) },
    };
    if (!edit) return { ...all, bars: this.bars.valueAsNumber, meter: this.meter.value.split("/").map(Number) };
    const { bars, meter } = this.beat.recipe,
      keep = this.grid.classes.map(({ name }) => name).filter((name) => this.view.locked.has(name));
    if (edit === "keep" && (!keep.length || keep.length === this.grid.classes.length))
      throw new Error("tick the lanes that stay: one at least, and not all");
    return { ...all, bars: bars + (edit === "continue" ? 4 : 0), meter, edit, source: this.beat.codes, keep };
  }

  busy(on) {
    this.making = on;
    for (const one of [this.button, this.fill, this.humanise, this.continue]) one.disabled = on;
    if (!on) progress(null);
  }

  toggle() {
    context(44100);
    if (this.beats.playing) this.beats.stop();
    else this.beats.start().catch((error) => say(error.message, true));
  }

  file(what) {
    const { recipe, index, codes } = this.now(),
      stem = (this.beat.name && plain(this.beat.name)) || beatStem(recipe, index);
    const { midi, json } = beatFiles(this.info, { recipe, index, codes }, stem);
    return what === "midi"
      ? { name: `${stem}.mid`, bytes: midi, type: "audio/midi" }
      : { name: `${stem}.json`, bytes: json, type: "application/json" };
  }

  save(what) {
    const { name, bytes, type } = this.file(what);
    download(name, bytes, type);
  }

  async keep() {
    const { recipe, index, codes } = this.now();
    const one = {
      kind: "drums",
      id: crypto.getRandomValues(new Uint32Array(2)).join("-"),
      at: Date.now(),
      name: beatStem(recipe, index),
      recipe,
      index,
      codes: codes.map((row) => row.slice()),
    };
    await shelf.keep(one);
    this.list(one);
    say("Kept.");
  }

  list(one) {
    const name = make("input", {
      class: "name",
      "aria-label": "Name of the beat",
      value: one.name,
      maxlength: 60,
      onchange: () => {
        one.name = name.value.trim() || beatStem(one.recipe, one.index);
        name.value = one.name;
        shelf.keep(one);
      },
    });
    const open = make(
      "button",
      {
        onclick: () =>
          this.show(
            {
              recipe: one.recipe,
              index: one.index,
              name: one.name === beatStem(one.recipe, one.index) ? "" : one.name,
            },
            one.codes,
          ),
      },
      "Open",
    );
    const drop = make(
      "button",
      {
        onclick: async () => {
          await shelf.drop(one.id);
          element.remove();
        },
      },
      "Delete",
    );
    const element = make("li", { class: "kept" }, make("div", { class: "row" }, open, name, drop));
    this.kept.prepend(element);
  }

  key(event) {
    const actions = {
      n: () => this.make(),
      " ": () => this.toggle(),
      k: () => this.keep(),
      d: () => this.save("midi"),
      j: () => this.save("json"),
      Escape: () => this.beats.stop(),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    action?.();
    return Boolean(action);
  }

  hide() {
    this.beats.stop();
  }
}

/** A prompt field as an input: levels are a slider whose 0 is "any", other words a list. */
function knob(name, words) {
  const label = name[0].toUpperCase() + name.slice(1);
  if (!SCALES.includes(name)) {
    const list = make(
      "select",
      { id: `word-${name}` },
      make("option", { value: "" }, "any"),
      ...words.map((word) => make("option", {}, word)),
    );
    return { element: field(label, list), value: () => list.value };
  }
  const slider = make("input", { id: `word-${name}`, type: "range", min: 0, max: words.length, value: 0 });
  return {
    element: field(label, slider, (value) => (Number(value) ? words[value - 1] : "any")),
    value: () => words[slider.value - 1] || "",
  };
}
