// The drums: the grid, and what can be done with a beat.

import { BeginView, factsOf, heardOf, MIDI } from "./begin_view.js";
import { ClipShelf } from "./clip_shelf.js";
import { keyList, make, progress, say } from "./dom.js";
import { beatFiles, beatRecipe, beatStem } from "./engine/drums.js";
import { DrumGrid } from "./engine/grid.js";
import { midiTempo, TICKS } from "./engine/midi.js";
import { AS_IT_IS } from "./engine/spec.js";
import { levelled, wavBytes } from "./engine/wav.js";
import { download, draggable, jsonFile, kindOf, midiFile, plain } from "./files.js";
import { GridView } from "./grid_view.js";
import { HitView } from "./hit_view.js";
import { Beats, RATE, render } from "./kit.js";
import { KitView } from "./kit_view.js";
import { chooser, Knobs, shownTempo } from "./knobs.js";
import { ask } from "./maker.js";
import { MidiOut } from "./midi_out.js";
import { context } from "./player.js";

const KEYS = [
  ["N", "make a beat"],
  ["V", "vary it"],
  ["H", "humanise it"],
  ["Space", "play or stop"],
  ["K", "keep"],
  ["D", "download the MIDI file"],
  ["W", "download a WAV"],
  ["J", "download the recipe"],
  ["Enter", "set or clear a hit"],
  ["+ −", "its velocity"],
  ["[ ]", "its time"],
  ["Esc", "stop"],
];
const MORE = 4, // bars
  LONGEST = 32; // bars of a file that are taken
const title = (name) => name.replaceAll("_", " ");

export class DrumsView {
  constructor(root, instruments) {
    Object.assign(this, { root, instruments });
    this.choose(instruments[0]);
    const tick = () => {
      const at = this.beats.position();
      this.view.now(at === null ? null : Math.floor(at / this.grid.stepTicks));
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** Show one of the instruments, with an empty grid of its own map. */
  choose(info) {
    this.info = info;
    this.root.replaceChildren();
    this.beats?.stop();
    this.grid = new DrumGrid(this.info.codec);
    this.beats = new Beats(
      () => this.sounding(),
      (on) => {
        this.playing.textContent = on ? "Stop" : "Play";
      },
      new MidiOut(),
    );
    this.kit = new KitView(this.beats, this.grid.classes, title);
    this.hit = new HitView(this.grid, (change) => this.view.set(change));
    this.view = new GridView(
      this.grid,
      () => this.edited(),
      (where) => this.hit.show(where),
      async (lane, file) => ((await kindOf(file).catch(() => "")) === "midi" ? this.drop([file]) : this.kit.take(lane, file)),
    );
    this.begin = new BeginView(
      { ...MIDI, id: "drums", sounds: "drop a one-shot on the lane that is to sound like it" },
      (bytes) => this.heard(bytes),
      (beat) => this.show(beat, beat.codes),
    );
    this.knobs = new Knobs(this.info, (bpm) => this.tempo(bpm));
    this.kept = new ClipShelf(
      { kind: "drums", bundle: this.info.name, label: "Kept beats", stem: beatStem },
      (one) => this.show({ ...one, name: one.name === beatStem(one.recipe, one.index) ? "" : one.name }, one.codes),
    );
    this.build();
    const empty = this.grid.empty(4 * this.grid.barSteps([4, 4]));
    this.show({ recipe: beatRecipe(this.info, { seed: 0n, edit: AS_IT_IS, source: empty }), index: 0 }, empty);
  }

  build() {
    const button = (id, text, act, more = {}) => make("button", { id, onclick: act, ...more }, text);
    this.makers = [
      button("make-beat", "Make a beat", () => this.make(), { class: "main" }),
      button("vary", "Vary", () => this.make("vary")),
      button("humanise", "Humanise", () => this.make("humanise")),
      button("fill", "New around the ticked lanes", () => this.make("keep")),
      button("fill-bars", "New in the ticked bars", () => this.make("infill")),
      button("continue", `${MORE} bars more`, () => this.make("continue")),
    ];
    this.playing = button("play-beat", "Play", () => this.toggle());
    this.midi = button("midi", "MIDI", () => this.save("midi"), { title: "Drag it out as a MIDI file" });
    draggable(this.midi, () => this.file("midi"));
    this.title = make("h2", {});
    this.root.append(
      make(
        "div",
        { class: "panel" },
        make("h2", {}, "A beat"),
        make("p", { class: "quiet" }, this.info.card || ""),
        chooser(this.instruments, this.info, (info) => this.choose(info)),
        this.knobs.element,
        this.begin.element,
        make("div", { class: "row" }, ...this.makers),
        keyList(KEYS),
      ),
      make(
        "div",
        { class: "panel" },
        make(
          "div",
          { class: "row" },
          this.playing,
          this.midi,
          button("beat-wav", "WAV", () => this.save("wav")),
          button("beat-recipe", "Recipe", () => this.save("json")),
          button("keep-beat", "Keep", () => this.keep()),
          this.title,
        ),
        this.view.element,
        this.hit.label,
        this.hit.fields,
        this.kit.element,
      ),
      this.kept.element,
    );
  }

  /** Show a beat; its codes are copied, for they may be edited. */
  show(beat, codes) {
    this.beat = { ...beat, codes: codes.map((row) => row.slice()), edited: beat.edited || false };
    this.knobs.show(beat.recipe);
    this.view.show(this.beat.codes, beat.recipe.meter);
    this.entitle();
  }

  entitle() {
    const name = this.beat.name || beatStem(this.now().recipe, this.beat.index);
    this.title.textContent = name + (this.beat.edited ? " (edited)" : "");
  }

  /** The beat as it is: with its recipe, or, where it was edited, as what it has become. */
  now() {
    const { recipe, index, codes, edited } = this.beat,
      name = this.beat.name || undefined;
    if (!edited) return { recipe, index, codes, name };
    const { bars, bpm, meter, seed } = recipe;
    return {
      recipe: beatRecipe(this.info, { bars, bpm, meter, seed, edit: AS_IT_IS, source: codes }),
      index: 0,
      codes,
      name,
    };
  }

  edited() {
    if (!this.beat.edited) {
      this.beat.edited = true;
      this.entitle();
    }
  }

  tempo(bpm) {
    if (!(bpm >= 20 && bpm <= 400) || bpm === this.beat.recipe.bpm) return;
    this.beat.recipe = { ...this.beat.recipe, bpm };
    this.edited();
    this.entitle();
  }

  sounding() {
    const { recipe, codes } = this.beat,
      [over, under] = recipe.meter;
    return {
      notes: this.grid.notes(codes),
      bpm: midiTempo(recipe.bpm),
      ticks: (recipe.bars * TICKS * 4 * over) / under,
    };
  }

  async make(edit = "") {
    if (this.making) return;
    let recipe;
    try {
      recipe = beatRecipe(this.info, this.asked(edit));
    } catch (error) {
      say(error.message, true);
      return;
    }
    const began = performance.now();
    this.busy(true);
    let codes = null;
    try {
      await ask("codes", { name: this.info.name, recipe, index: 0 }, ({ loaded, total, codes: made }) => {
        if (total) progress(loaded / total);
        if (made) codes = made;
      }).promise;
      this.show({ recipe, index: 0 }, codes);
      say(`${recipe.bars} bars in ${((performance.now() - began) / 1000).toFixed(2)} s`);
    } catch (error) {
      say(error.message, true);
    }
    this.busy(false);
  }

  asked(edit) {
    const all = this.knobs.asked();
    if (!edit) return all;
    const { bars, meter, bpm: exact } = this.beat.recipe,
      keep = this.grid.classes.map(({ name }) => name).filter((name) => this.view.locked.has(name));
    const ticked = [...this.view.bars].sort((a, b) => a - b),
      span = [ticked[0], ticked.at(-1)];
    if (edit === "infill" && (!ticked.length || span[1] - span[0] + 1 !== ticked.length))
      throw new Error("tick the bars that are made anew, above the grid: one, or several that follow each other");
    if (edit === "keep" && (!keep.length || keep.length === this.grid.classes.length))
      throw new Error("tick the lanes that stay: one at least, and not all");
    if ((edit === "vary" || edit === "humanise") && !this.grid.hits(this.beat.codes).length)
      throw new Error("there is no hit in the grid yet: make a beat, or set some");
    const bpm = all.bpm === shownTempo(exact) ? exact : all.bpm;
    return { ...all, bpm, bars: bars + (edit === "continue" ? MORE : 0), meter, edit, source: this.beat.codes, keep, span };
  }

  busy(on) {
    this.making = on;
    for (const one of this.makers) one.disabled = on;
    if (!on) progress(null);
  }

  toggle() {
    context(RATE);
    if (this.beats.playing) this.beats.stop();
    else this.beats.start().catch((error) => say(error.message, true));
  }

  file(what) {
    const { recipe, index, codes } = this.now(),
      stem = (this.beat.name && plain(this.beat.name)) || beatStem(recipe, index);
    const { midi, json } = beatFiles(this.info, { recipe, index, codes }, stem);
    return what === "midi" ? midiFile(stem, midi) : jsonFile(stem, json);
  }

  /** The beat as it sounds, with its tempo inside. */
  async sound() {
    const beat = this.sounding(),
      { name } = this.file("midi");
    const { wav } = levelled(render(await this.beats.ready(), beat));
    const bytes = wavBytes(wav, RATE, { bpm: this.beat.recipe.bpm, beats: Math.max(1, Math.round(beat.ticks / TICKS)) });
    return { name: name.replace(/mid$/, "wav"), bytes, type: "audio/wav" };
  }

  async save(what) {
    const { name, bytes, type } = what === "wav" ? await this.sound() : this.file(what);
    download(name, bytes, type);
  }

  async keep() {
    await this.kept.keep(this.now());
    say("Kept.");
  }

  /** Files that were dropped beside a lane. */
  drop(files) {
    return this.begin.take(files);
  }

  /** What begin_view.js asks for. */
  async heard(bytes) {
    const { beatOf } = await import("./engine/beat_source.js"),
      beat = beatOf(this.info, bytes, LONGEST),
      { bars, meter } = beat.recipe;
    beat.remarks.push(...heardOf(this.info, bars, this.grid.barSteps(meter)));
    return { ...beat, about: `${factsOf(beat.recipe)}, ${this.grid.hits(beat.codes).length} hits` };
  }

  key(event) {
    const actions = {
      n: () => this.make(),
      v: () => this.make("vary"),
      h: () => this.make("humanise"),
      " ": () => this.toggle(),
      k: () => this.keep(),
      d: () => this.save("midi"),
      w: () => this.save("wav"),
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
