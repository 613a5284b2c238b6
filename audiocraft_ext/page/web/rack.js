// The rack: clips with waveform, playhead, name and buttons; what was made of a clip hangs below it.

import { make } from "./dom.js";
import { download, draggable, plain } from "./files.js";
import { stemOf } from "./engine/recipe.js";
import { soundFiles } from "./engine/sound.js";
import * as shelf from "./shelf.js";
import { toolsOf } from "./tools_view.js";

export class Rack {
  /** `player` plays; `infoOf(name)` is an instrument of that name, or undefined; `loops()` whether clips go round and
   * round; `tools` is what tools_view.js asks for. */
  constructor(player, infoOf, loops, tools) {
    Object.assign(this, { player, infoOf, loops, tools, items: [] });
    this.element = make("ol", { class: "rack", role: "list", "aria-label": "Clips" });
  }

  add(clip) {
    const play = make("button", { class: "play", onclick: () => this.toggle(clip) }, "Play");
    const name = make("input", {
      class: "name",
      "aria-label": "Name of the clip",
      value: clip.name,
      maxlength: 60,
      onchange: () => {
        clip.name = name.value.trim() || stemOf(clip.recipe, clip.index);
        name.value = clip.name;
        if (clip.kept) shelf.keep(record(clip));
      },
    });
    const keep = make("button", { class: "keep", onclick: () => this.keep(clip) }, "Keep");
    const files = ["WAV", "Recipe"].map((what) =>
      make("button", { class: what.toLowerCase(), onclick: () => this.save(clip, what) }, what),
    );
    const drop = make(
      "button",
      { class: "delete", "aria-label": "Delete", onclick: () => this.remove(clip) },
      "Delete",
    );
    const canvas = make("canvas", { role: "img", "aria-label": `Waveform of ${clip.name}` }),
      head = make("i");
    const wave = make("div", { class: "wave", title: "Drag it out as a WAV" }, canvas, head);
    draggable(wave, () => ({ ...this.file(clip, "WAV") }));
    wave.addEventListener("click", () => this.select(clip));
    const about = make("p", { class: "quiet" }, aboutOf(clip));
    const kids = make("ol", { class: "kids", role: "list", "aria-label": `Made of ${clip.name}`, hidden: true });
    const card = make(
      "div",
      { class: "card" },
      make("div", { class: "row" }, play, name, keep, ...files, drop),
      wave,
      about,
    );
    const element = make("li", {}, card, kids);
    card.addEventListener("focusin", () => this.select(clip, false));
    this.items.push({ clip, element, card, canvas, head, play, keep, name, files, about, kids });
    this.hang(element, clip.parent);
    this.refresh(clip);
    this.select(clip, false);
  }

  /** Put an element below the clip with the id `parent`, or at the top. */
  hang(element, parent) {
    const above = this.items.find((one) => one.clip.id === parent);
    (above?.kids || this.element).prepend(element);
    if (above) above.kids.hidden = false;
  }

  item(clip) {
    return this.items.find((one) => one.clip === clip);
  }

  /** Clips as they stand below each other. */
  shown() {
    const at = new Map([...this.element.querySelectorAll("li")].map((element, i) => [element, i]));
    return [...this.items].sort((a, b) => at.get(a.element) - at.get(b.element));
  }

  /** Other clips that are whole and have the same kind of codes. */
  beside(clip) {
    return this.shown()
      .map((one) => one.clip)
      .filter((one) => one !== clip && one.done && one.recipe.bundle_hash === clip.recipe.bundle_hash);
  }

  /** Show what has changed. */
  refresh(clip) {
    const item = this.item(clip);
    if (!item) return;
    item.keep.setAttribute("aria-pressed", String(Boolean(clip.kept)));
    item.card.classList.toggle("kept", Boolean(clip.kept));
    for (const button of [item.play, item.keep, ...item.files]) button.disabled = !clip.done;
    if (this.player.clip === clip) item.play.disabled = false;
    if (!clip.done || item.tools !== undefined) return draw(item.canvas, clip);
    item.about.textContent = aboutOf(clip);
    const info = this.infoOf(clip.recipe.bundle),
      mine = info.hash === clip.recipe.bundle_hash; // what an earlier version made is kept, and left as it is
    item.tools = mine ? toolsOf(clip, info, { others: () => this.beside(clip), ...this.tools }) : "";
    item.card.append(item.tools);
    return draw(item.canvas, clip);
  }

  select(clip, focus = true) {
    this.selected = clip;
    for (const item of this.items) item.card.setAttribute("aria-current", String(item.clip === clip));
    if (focus) this.item(clip)?.play.focus();
  }

  move(by) {
    const all = this.shown(),
      at = all.findIndex((one) => one.clip === this.selected);
    const item = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    if (item) this.select(item.clip);
  }

  toggle(clip = this.selected) {
    if (!clip) return;
    if (this.player.clip === clip) this.player.stop();
    else if (clip.done) this.player.play(clip, this.loops());
  }

  /** Tell the buttons what plays. */
  playing(clip) {
    for (const item of this.items) {
      item.play.textContent = item.clip === clip ? "Stop" : "Play";
      item.play.disabled = !item.clip.done && item.clip !== clip;
      if (item.clip !== clip) item.head.style.display = "none";
    }
  }

  tick() {
    const at = this.player.position(),
      item = at === null ? null : this.item(this.player.clip);
    if (!item) return;
    item.head.style.display = "block";
    item.head.style.left = `${(100 * at) / item.clip.seconds}%`;
  }

  async keep(clip = this.selected) {
    if (!clip?.done) return;
    clip.kept = !clip.kept;
    await (clip.kept ? shelf.keep(record(clip)) : shelf.drop(clip.id));
    this.refresh(clip);
  }

  rename() {
    const item = this.item(this.selected);
    item?.name.focus();
    item?.name.select();
  }

  /** Delete a clip; what was made of it moves up to where it hung. */
  async remove(clip = this.selected) {
    const all = this.shown(),
      at = all.findIndex((one) => one.clip === clip);
    if (at < 0) return;
    if (this.player.clip === clip) this.player.stop();
    clip.stop?.();
    const { element, kids } = all[at],
      below = all.filter((one) => one.clip.parent === clip.id);
    element.before(...kids.children);
    const list = element.parentElement;
    element.remove();
    if (list !== this.element) list.hidden = !list.children.length;
    this.items = this.items.filter((one) => one.clip !== clip);
    const next = all[at + 1] || all[at - 1];
    this.selected = null;
    if (next) this.select(next.clip);
    if (clip.kept) await shelf.drop(clip.id);
    for (const { clip: child } of below) {
      child.parent = clip.parent;
      if (child.kept) await shelf.keep(record(child));
    }
  }

  file(clip, what) {
    const own = stemOf(clip.recipe, clip.index),
      stem = (clip.name !== own && plain(clip.name)) || own;
    const { wav, json } = soundFiles(this.infoOf(clip.recipe.bundle), clip, stem);
    return what === "WAV"
      ? { name: `${stem}.wav`, bytes: wav, type: "audio/wav" }
      : { name: `${stem}.json`, bytes: json, type: "application/json" };
  }

  save(clip = this.selected, what = "WAV") {
    if (!clip?.done) return;
    const { name, bytes, type } = this.file(clip, what);
    download(name, bytes, type);
  }
}

function record({ id, at, name, recipe, index, codes, wav, rate, parent, about }) {
  return { kind: "sound", id, at, name, recipe, index, codes, wav, rate, parent, about };
}

/** A clip of what the shelf has. */
export const revived = (one) => ({
  ...one,
  kept: true,
  done: true,
  seconds: one.wav.length / one.rate,
  made: one.wav.length,
});

function aboutOf({ recipe, seconds }) {
  const length = recipe.bars === undefined ? `${seconds.toFixed(1)} s` : `${recipe.bars} bars`;
  const tempo = recipe.bpm === undefined ? "" : ` at ${Number(recipe.bpm.toFixed(2))} BPM`,
    said = [recipe.bundle, `seed ${recipe.seed}`, length + tempo];
  if (recipe.guidance !== undefined) said.push(`beat ${recipe.guidance}`);
  if (recipe.loop) said.push("a loop");
  if (recipe.prompt) said.push("begins with a sound");
  said.push(recipe.weird || `temperature ${[recipe.sampling.temperature].flat().join(" ")}`);
  return said.join(", ");
}

/** The extremes of what has been made so far. */
function draw(canvas, { wav, made }) {
  const width = (canvas.width = 600),
    height = (canvas.height = 64),
    paint = canvas.getContext("2d");
  paint.fillStyle = "#8fb8ff";
  for (let x = 0; x < width; x++) {
    const begin = Math.floor((x / width) * wav.length),
      end = Math.min(made, Math.floor(((x + 1) / width) * wav.length));
    let low = 0,
      high = 0;
    for (let i = begin; i < end; i++) {
      low = Math.min(low, wav[i]);
      high = Math.max(high, wav[i]);
    }
    const top = ((1 - Math.min(high, 1)) * height) / 2,
      bottom = ((1 - Math.max(low, -1)) * height) / 2;
    paint.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
}
