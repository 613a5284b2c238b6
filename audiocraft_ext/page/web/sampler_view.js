// The sampler: settings, "Make", and the rack.

import { Making, newClip } from "./clips.js";
import { field, keyList, make, progress, randomSeed, say, seedOf } from "./dom.js";
import { childRecipe, GUIDANCE, hasMetronome, soundRecipe } from "./engine/recipe.js";
import { clipSpec } from "./engine/spec.js";
import { context, Player } from "./player.js";
import { PromptView } from "./prompt_view.js";
import { Rack, revived } from "./rack.js";
import { kept } from "./shelf.js";

const KEYS = [
  ["N", "make a clip"],
  ["Space", "play or stop"],
  ["↑ ↓", "choose a clip"],
  ["L", "a loop or not"],
  ["K", "keep"],
  ["R", "name it"],
  ["D", "download the WAV"],
  ["J", "download the recipe"],
  ["Delete", "delete"],
  ["Esc", "stop"],
];
const BEAT = { low: 1, high: 5 }; // from the model by itself to twice what is usual
const decimals = (value) => Number(value).toFixed(2);
const closely = (value) =>
  Number(value).toFixed(1) + ({ [BEAT.low]: ", loose", [GUIDANCE]: ", as usual", [BEAT.high]: ", strict" }[value] || "");

export class SamplerView {
  constructor(root, instruments) {
    Object.assign(this, { root, instruments });
    this.player = new Player((clip) => this.rack.playing(clip));
    this.rack = new Rack(
      this.player,
      (name) => instruments.find((one) => one.name === name),
      () => this.round.checked,
      { play: (...what) => this.change(...what), more: (clip) => this.more(clip) },
    );
    this.making = new Making(
      this.player,
      this.rack,
      () => ({ live: this.live.checked, loop: this.round.checked }),
      (on) => this.busy(on),
    );
    this.prompt = new PromptView(() => this.info);
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
    this.beat = make("input", { id: "beat", type: "range", min: BEAT.low, max: BEAT.high, step: 0.1, value: GUIDANCE });
    this.beatField = field("Beat: how closely it is kept", this.beat, closely);
    this.beatField.classList.add("double");
    this.loop = make("input", { type: "checkbox", id: "loop" });
    this.round = make("input", { type: "checkbox", id: "round", checked: true });
    this.live = make("input", { type: "checkbox", id: "live", checked: true });
    this.temperatures = make("div", { class: "fields" });
    this.about = make("p", { class: "quiet" });
    this.button = make("button", { class: "main", id: "make", onclick: () => this.make() }, "Make a clip");
    this.halt = make("button", { id: "halt", disabled: true, onclick: () => this.making.stop() }, "Stop making");
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
          this.beatField,
        ),
        make(
          "fieldset",
          {},
          make("legend", {}, "Temperature of each codebook, the coarsest first"),
          this.temperatures,
        ),
        this.prompt.element,
        make(
          "div",
          { class: "row" },
          this.button,
          this.halt,
          check(this.loop, "Its end leads into its start"),
          check(this.live, "Play while it is made"),
          check(this.round, "Play round and round"),
        ),
        keyList(KEYS),
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
    this.beatField.hidden = !hasMetronome(info);
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
    return {
      ...length,
      seed: seedOf(this.seed.value),
      loop: this.loop.checked,
      guidance: Number(this.beat.value),
      sampling: { temperature, min_p: Number(this.minP.value) },
    };
  }

  async make() {
    const { info } = this;
    if (this.making.now || this.waiting) return;
    this.waiting = true;
    context(info.codec.sample_rate); // a click allows sound
    try {
      const recipe = soundRecipe(info, { ...this.asked(), prompt: await this.prompt.codes() });
      this.waiting = false;
      await this.making.make(info, newClip(recipe, info.codec.sample_rate));
    } catch (error) {
      say(error.message, true);
    }
    this.waiting = false;
  }

  /** A child of a clip by a chain of weird tools. */
  change(clip, weird, clips) {
    return this.child(clip, (info) => childRecipe(info, clip, { seed: randomSeed(), weird, clips }));
  }

  /** A child that begins with the end of a clip and goes on as long as that was. */
  more(clip) {
    return this.child(clip, (info) => {
      const { spec, context: most } = info,
        prompt = clip.codes.map((row) => row.slice(-Math.min(most / 2, row.length))),
        frames = prompt[0].length + clip.codes[0].length;
      const { bpm = null, guidance = 1, sampling } = clip.recipe,
        asked = { seconds: frames / spec.frame_rate, bpm, guidance, sampling };
      return soundRecipe(info, { ...asked, seed: randomSeed(), prompt });
    });
  }

  async child(clip, recipe) {
    const info = this.rack.infoOf(clip.recipe.bundle);
    try {
      await this.making.make(info, newClip(recipe(info), clip.rate, clip.id));
    } catch (error) {
      say(error.message, true);
    }
  }

  /** Files that were dropped on the page. */
  drop([file]) {
    return this.prompt.take(file, file.name);
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
      l: () => this.loop.click(),
      k: () => this.rack.keep(),
      r: () => this.rack.rename(),
      d: () => this.rack.save(),
      j: () => this.rack.save(undefined, "Recipe"),
      Delete: () => this.rack.remove(),
      Escape: () => {
        this.player.stop();
        this.making.stop();
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
