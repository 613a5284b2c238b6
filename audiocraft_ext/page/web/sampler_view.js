// The sampler: settings, "Make", and the rack.

import { field, make, progress, say, seedOf } from "./dom.js";
import { joined } from "./engine/sampler.js";
import { soundRecipe, stemOf } from "./engine/recipe.js";
import { clipSpec } from "./engine/spec.js";
import { ask } from "./maker.js";
import { context, Player } from "./player.js";
import { Rack, revived } from "./rack.js";
import { kept } from "./shelf.js";

const KEYS = [
  ["N", "make a clip"],
  ["Space", "play or stop"],
  ["↑ ↓", "choose a clip"],
  ["K", "keep"],
  ["R", "name it"],
  ["D", "download the WAV"],
  ["J", "download the recipe"],
  ["Delete", "delete"],
  ["Esc", "stop"],
];
const decimals = (value) => Number(value).toFixed(2);

export class SamplerView {
  constructor(root, instruments) {
    Object.assign(this, { root, instruments });
    this.player = new Player((clip) => this.rack.playing(clip));
    this.rack = new Rack(
      this.player,
      (name) => instruments.find((one) => one.name === name),
      () => this.loop.checked,
    );
    this.build();
    this.choose();
    kept("sound").then((all) =>
      all.filter((one) => this.rack.infoOf(one.recipe.bundle)).forEach((one) => this.rack.add(revived(one))),
    );
    const tick = () => {
      this.rack.tick();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  build() {
    const number = (value, min, max, step) => make("input", { type: "number", value, min, max, step });
    this.instrument = make(
      "select",
      { id: "instrument", onchange: () => this.choose() },
      ...this.instruments.map((one) => make("option", { value: one.name }, one.name)),
    );
    this.seed = make("input", { id: "seed", inputmode: "numeric", placeholder: "random", autocomplete: "off" });
    this.unit = make(
      "select",
      { id: "unit", onchange: () => this.units() },
      make("option", { value: "seconds" }, "seconds"),
      make("option", { value: "bars" }, "bars"),
    );
    this.seconds = number(10, 0.5, 120, 0.5);
    this.bpm = number(174, 20, 400, "any");
    this.bars = number(4, 0.25, 64, 0.25);
    this.minP = make("input", { id: "min-p", type: "range", min: 0, max: 0.3, step: 0.01, value: 0 });
    this.loop = make("input", { type: "checkbox", id: "loop", checked: true });
    this.live = make("input", { type: "checkbox", id: "live", checked: true });
    this.temperatures = make("div", { class: "fields" });
    this.about = make("p", { class: "quiet" });
    this.button = make("button", { class: "main", id: "make", onclick: () => this.make() }, "Make a clip");
    this.halt = make("button", { id: "halt", disabled: true, onclick: () => this.making?.stop() }, "Stop making");
    this.lengths = {
      seconds: [field("Seconds", this.seconds)],
      bars: [field("Tempo, BPM", this.bpm), field("Bars", this.bars)],
    };
    const check = (input, text) => make("div", { class: "check" }, input, make("label", { for: input.id }, text));
    this.root.append(
      make(
        "div",
        { class: "panel" },
        make("h2", {}, "A clip"),
        this.about,
        make(
          "div",
          { class: "fields" },
          field("Instrument", this.instrument),
          field("Seed", this.seed),
          field("Length in", this.unit),
          ...this.lengths.seconds,
          ...this.lengths.bars,
          field("min-p", this.minP, decimals),
        ),
        make(
          "fieldset",
          {},
          make("legend", {}, "Temperature of each codebook, the coarsest first"),
          this.temperatures,
        ),
        make(
          "div",
          { class: "row" },
          this.button,
          this.halt,
          check(this.live, "Play while it is made"),
          check(this.loop, "Play round and round"),
        ),
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
      this.rack.element,
    );
    this.units();
  }

  get info() {
    return this.instruments.find((one) => one.name === this.instrument.value);
  }

  choose() {
    const { info } = this,
      K = clipSpec(info.spec).n_q,
      own = [info.sampling.temperature ?? 1].flat();
    this.about.textContent = info.card || "";
    this.minP.value = [info.sampling.min_p ?? 0].flat()[0];
    this.minP.dispatchEvent(new Event("input"));
    this.temperatures.replaceChildren(
      ...Array.from({ length: K }, (_, k) =>
        field(
          `Codebook ${k}`,
          make("input", {
            type: "range",
            class: "temperature",
            min: 0,
            max: 2,
            step: 0.05,
            value: own[Math.min(k, own.length - 1)],
          }),
          decimals,
        ),
      ),
    );
  }

  units() {
    for (const [unit, fields] of Object.entries(this.lengths))
      for (const one of fields) one.hidden = unit !== this.unit.value;
  }

  asked() {
    const temperatures = [...this.temperatures.querySelectorAll("input")].map((input) => Number(input.value));
    const temperature = temperatures.every((t) => t === temperatures[0]) ? temperatures[0] : temperatures;
    const length =
      this.unit.value === "bars"
        ? { bpm: this.bpm.valueAsNumber, bars: this.bars.valueAsNumber }
        : { seconds: this.seconds.valueAsNumber };
    return { ...length, seed: seedOf(this.seed.value), sampling: { temperature, min_p: Number(this.minP.value) } };
  }

  async make() {
    if (this.making) return;
    const { info } = this;
    let clip;
    try {
      const recipe = soundRecipe(info, this.asked()),
        rate = info.codec.sample_rate,
        index = 0;
      clip = {
        id: crypto.getRandomValues(new Uint32Array(2)).join("-"),
        at: Date.now(),
        name: stemOf(recipe, index),
        recipe,
        index,
        rate,
        wav: new Float32Array(recipe.samples),
        made: 0,
        seconds: recipe.samples / rate,
        pieces: [],
        done: false,
      };
    } catch (error) {
      return say(error.message, true);
    }
    const live = this.live.checked,
      began = performance.now();
    let asked = false;
    context(clip.rate); // a click allows sound, a message from the worker does not
    this.busy(true);
    this.rack.add(clip);
    const job = ask(
      "sound",
      { name: info.name, recipe: clip.recipe, index: clip.index },
      ({ loaded, total, codes, wav }) => {
        if (total) {
          progress(loaded / total);
          return say(`Loading ${info.name}: ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`);
        }
        if (codes[0].length) clip.pieces.push(codes);
        clip.sampling ??= performance.now();
        return wav.length && !asked ? this.hear(clip, wav, live) : undefined;
      },
    );
    const stop = () => {
      asked = true;
      job.stop();
    };
    this.making = { stop };
    clip.stop = stop;
    try {
      await job.promise;
      if (asked) {
        await this.rack.remove(clip);
        say("Stopped.");
      } else this.finish(clip, performance.now() - began, live);
    } catch (error) {
      await this.rack.remove(clip);
      say(error.message, true);
    }
    this.making = null;
    this.busy(false);
  }

  /** One more piece of a clip. It is played from when the rest will be there in time. */
  hear(clip, wav, live) {
    clip.wav.set(wav, clip.made);
    clip.made += wav.length;
    const share = clip.made / clip.wav.length,
      left = ((performance.now() - clip.sampling) / 1000) * (1 / share - 1);
    if (live && this.player.clip === clip) this.player.push(clip, wav);
    else if (live && !clip.begun && left < clip.seconds) {
      clip.begun = true;
      this.player.stream(clip);
      this.player.push(clip, clip.wav.slice(0, clip.made));
      say(`First sound after ${((performance.now() - clip.sampling) / 1000).toFixed(1)} s`);
    }
    progress(share);
    this.rack.refresh(clip);
  }

  finish(clip, ms, live) {
    clip.codes = joined(clip.pieces, clip.pieces[0].length);
    delete clip.pieces;
    delete clip.stop;
    clip.done = true;
    this.rack.refresh(clip);
    if (live) this.player.end(clip, this.loop.checked);
    say(
      `${clip.seconds.toFixed(1)} s of sound in ${(ms / 1000).toFixed(1)} s, ${Math.round((clip.codes[0].length * 1000) / ms)} steps a second`,
    );
  }

  busy(on) {
    this.button.disabled = on;
    this.halt.disabled = !on;
    if (!on) progress(null);
  }

  /** A key that is no text; true where it was taken. */
  key(event) {
    const actions = {
      n: () => this.make(),
      " ": () => this.rack.toggle(),
      ArrowUp: () => this.rack.move(-1),
      ArrowDown: () => this.rack.move(1),
      k: () => this.rack.keep(),
      r: () => this.rack.rename(),
      d: () => this.rack.save(),
      j: () => this.rack.save(undefined, "Recipe"),
      Delete: () => this.rack.remove(),
      Escape: () => {
        this.player.stop();
        this.making?.stop();
      },
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    action?.();
    return Boolean(action);
  }

  hide() {
    this.player.stop();
  }
}
