// Pieces and songs: made, seen as a piano roll, heard, changed and kept. What they are is their desk's (piece_desk.js,
// song_desk.js).

import { Band } from "./band.js";
import { BeginView } from "./begin_view.js";
import { ClipShelf } from "./clip_shelf.js";
import { keyList, make, progress, say } from "./dom.js";
import { midiTempo, TICKS } from "./engine/midi.js";
import { levelled, wavBytes } from "./engine/wav.js";
import { download, draggable, plain } from "./files.js";
import { RATE } from "./kit.js";
import { chooser } from "./knobs.js";
import { ask } from "./maker.js";
import { context } from "./player.js";
import { colourOf, drawRoll, RollView } from "./roll_view.js";

const KEYS = [
  ["N", "make"],
  ["Space", "play or stop"],
  ["K", "keep"],
  ["D", "download the MIDI file"],
  ["W", "download a WAV"],
  ["J", "download the recipe"],
  ["Esc", "stop"],
];

export class ScoreView {
  constructor(root, instruments, Desk) {
    Object.assign(this, { root, instruments, Desk, texts: Desk.texts });
    this.choose(instruments[0]);
    const tick = () => {
      const at = this.band.position();
      this.roll.at(at === null ? null : (at / (this.picture.bars * this.picture.barTicks)) % 1);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  choose(info) {
    this.band?.stop();
    Object.assign(this, { info, desk: new this.Desk(info), roll: new RollView(), clip: null });
    this.band = new Band(
      () => this.sounding(),
      (on) => {
        this.playing.textContent = on ? "Stop" : "Play";
      },
      info.general_midi,
    );
    const { kind, list } = this.texts;
    this.shelf = new ClipShelf(
      { kind, bundle: info.name, label: list, stem: this.desk.stem },
      (one) => this.show(one),
      (one) => this.small(one),
    );
    this.build();
  }

  build() {
    const { kind, one, heading } = this.texts,
      button = (id, text, act, more = {}) => make("button", { id: `${kind}-${id}`, onclick: act, ...more }, text);
    this.making = button("make", `Make a ${one}`, () => this.make(), { class: "main" });
    this.stopping = button("stop", "Stop", () => this.job?.stop(), { hidden: true });
    this.changes = this.desk.changes.map((row) =>
      make(
        "div",
        { class: "row" },
        ...row.map((item) => {
          if (!Array.isArray(item)) return item;
          const [id, text, asked] = item;
          return make("button", { id, onclick: () => this.make(asked) }, text);
        }),
      ),
    );
    this.begin = new BeginView(
      this.Desk.begin,
      (bytes) => this.desk.heard(bytes),
      (clip) => this.show(this.shelf.add(clip)),
    );
    this.playing = button("play", "Play", () => this.toggle());
    const midi = button("midi", "MIDI", () => this.save("midi"), { title: "Drag it out as a MIDI file" });
    for (const element of [midi, this.roll.element]) draggable(element, () => this.file("midi"));
    this.song = make("a", { class: "button", target: "_blank", rel: "noreferrer", id: "song-open" }, "Open in BeepBox");
    const own =
      kind === "song"
        ? [button("file", "BeepBox", () => this.save("song")), button("url", "Copy its URL", () => this.copy()), this.song]
        : [];
    this.title = make("h2", {});
    this.parts = make("ul", { class: "parts", role: "list", "aria-label": "Parts" });
    this.result = make(
      "div",
      { class: "panel", hidden: true },
      make(
        "div",
        { class: "row" },
        this.playing,
        midi,
        button("wav", "WAV", () => this.save("wav")),
        ...own,
        button("recipe", "Recipe", () => this.save("json")),
        button("keep", "Keep", () => this.keep()),
        this.title,
      ),
      this.roll.element,
      this.parts,
      make("div", { class: "row changes" }, ...this.changes),
    );
    this.root.replaceChildren(
      make(
        "div",
        { class: "panel" },
        make("h2", {}, heading),
        make("p", { class: "quiet" }, this.info.card || ""),
        chooser(this.instruments, this.info, (info) => this.choose(info)),
        this.desk.element,
        this.begin.element,
        make("div", { class: "row" }, this.making, this.stopping),
        keyList(KEYS),
      ),
      this.result,
      this.shelf.element,
    );
  }

  /** Show a clip, a record of the shelf. */
  show(clip) {
    if (this.clip !== clip) this.band.stop();
    Object.assign(this, { clip, picture: this.desk.picture(clip) });
    this.desk.show(clip);
    this.result.hidden = false;
    this.roll.show(this.picture);
    this.title.textContent = clip.name;
    this.shelf.select(clip.id);
    this.parts.replaceChildren(...this.picture.parts.map((part, i) => this.part(part, i)));
    if (this.texts.kind === "song") this.song.href = this.desk.files(clip, clip.name).url;
  }

  part(part, i) {
    const hear = make("input", {
      type: "checkbox",
      "aria-label": `Hear ${part.name}`,
      checked: true,
      onchange: () => {
        part.muted = !hear.checked;
        this.roll.draw();
      },
    });
    const n = this.picture.notes.filter(([, , of]) => of === i).length,
      swatch = make("i"),
      label = make("label", { class: "check" }, hear, swatch, `${part.name}, ${n}`);
    swatch.style.background = colourOf(i);
    const asked = (clip) => this.desk.anew(clip, part.key),
      anew = this.desk.anew && this.picture.parts.length > 1;
    const again = make("button", { class: "anew", "aria-label": `${part.name} anew`, onclick: () => this.make(asked) }, "Anew");
    return make("li", { class: "row" }, label, ...(anew ? [again] : []));
  }

  /** A look at a clip of the shelf. */
  small(clip) {
    const picture = this.desk.picture(clip),
      canvas = make("canvas", { class: "small", role: "img", "aria-label": `Piano roll of ${clip.name}` });
    new ResizeObserver(() => drawRoll(canvas, picture, true)).observe(canvas);
    return canvas;
  }

  sounding() {
    const { notes, parts, bars, barTicks, bpm } = this.picture;
    return {
      notes: notes
        .filter(([, , part]) => !parts[part].muted)
        .map(([tick, length, part, pitch, velocity]) => [tick, pitch, velocity, length, parts[part].program]),
      bpm: midiTempo(bpm),
      ticks: bars * barTicks,
    };
  }

  /** Make what the desk asks for, or `changed(clip)` of the clip that is shown. */
  async make(changed = null) {
    if (this.job) return;
    let recipe,
      n = 1;
    try {
      if (!changed) n = this.desk.many;
      if (!(n >= 1 && n <= 32)) throw new Error(`1 to 32 at once, got ${n}`);
      recipe = this.desk.recipe(changed ? changed(this.clip) : this.desk.asked());
    } catch (error) {
      say(error.message, true);
      return;
    }
    const began = performance.now();
    this.busy(true);
    let made = 0;
    try {
      while (made < n && (await this.one(recipe, made, n))) made++;
      const what = n > 1 ? `${n} ${this.texts.one}s of ` : "";
      say(made < n ? "Stopped." : `${what}${recipe.bars} bars in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    } catch (error) {
      say(error.message, true);
    }
    this.busy(false);
  }

  /** Whether one more was made. */
  async one(recipe, index, n) {
    let codes = null;
    this.job = ask("codes", { name: this.info.name, recipe, index }, (data) => {
      if (data.total) progress(data.loaded / data.total);
      if (data.total) say(`Loading ${this.info.name}: ${(data.loaded / 1e6).toFixed(1)} of ${(data.total / 1e6).toFixed(1)} MB`);
      if (data.share !== undefined) progress((index + data.share) / n);
      if (data.codes) ({ codes } = data);
    });
    await this.job.promise;
    if (codes) this.show(this.shelf.add({ recipe, index, codes }));
    return Boolean(codes);
  }

  busy(on) {
    if (!on) this.job = null;
    this.stopping.hidden = !on;
    for (const one of [this.making, ...this.result.querySelectorAll(".changes button, .anew")]) one.disabled = on;
    if (!on) progress(null);
  }

  toggle() {
    if (!this.clip) return;
    context(RATE);
    if (this.band.playing) this.band.stop();
    else this.band.start().catch((error) => say(error.message, true));
  }

  file(what) {
    const { recipe, index, name } = this.clip;
    return this.desk.files(this.clip, plain(name) || this.desk.stem(recipe, index))[what];
  }

  async save(what) {
    if (!this.clip) return;
    const { name, bytes, type } = what === "wav" ? await this.sound() : this.file(what);
    download(name, bytes, type);
  }

  /** The clip as it sounds, without what is not to be heard, with its tempo inside. */
  async sound() {
    const { name } = this.file("midi"),
      { ticks } = this.sounding(),
      { wav } = levelled(await this.band.rendered());
    const bytes = wavBytes(wav, RATE, { bpm: this.clip.recipe.bpm, beats: Math.max(1, Math.round(ticks / TICKS)) });
    return { name: name.replace(/mid$/, "wav"), bytes, type: "audio/wav" };
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.song.href);
      say("The URL is copied: a browser opens it in BeepBox.");
    } catch {
      say("The browser does not let the page copy; 'Open in BeepBox' is a link with the same address.", true);
    }
  }

  async keep() {
    if (!this.clip) return;
    await this.shelf.keep(this.clip);
    say("Kept.");
  }

  /** Files that were dropped on the page. */
  drop(files) {
    return this.begin.take(files);
  }

  key(event) {
    const actions = {
      n: () => this.make(),
      " ": () => this.toggle(),
      k: () => this.keep(),
      d: () => this.save("midi"),
      w: () => this.save("wav"),
      j: () => this.save("json"),
      Escape: () => (this.job ? this.job.stop() : this.band.stop()),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    action?.();
    return Boolean(action);
  }

  hide() {
    this.band.stop();
  }
}
