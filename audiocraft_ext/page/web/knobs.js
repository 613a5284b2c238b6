// The settings of a beat: prompt words as knobs, tempo, bars, time signature, seed, temperature.

import { field, make, seedOf } from "./dom.js";
import { FACTS, SCALES } from "./engine/words.js";

const METERS = ["4/4", "3/4", "6/8", "7/8", "5/4"];

export class Knobs {
  /** `ontempo(bpm)` is told of another tempo. */
  constructor(info, ontempo) {
    const number = (value, min, max, step) => make("input", { type: "number", value, min, max, step });
    const prompts = info.codec.prompts?.fields.filter(({ name, words }) => !FACTS.includes(name) && words.length) || [];
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
      value: [info.sampling.temperature ?? 1].flat()[0],
    });
    this.amount = make("input", { id: "amount", type: "range", min: 0, max: 1, step: 0.05, value: 0.3 });
    this.bpm.addEventListener("change", () => ontempo(this.bpm.valueAsNumber));
    this.element = make(
      "div",
      { class: "knobs" },
      make("div", { class: "fields" }, ...this.words.map(({ element }) => element)),
      make(
        "div",
        { class: "fields" },
        field("Tempo, BPM", this.bpm),
        field("Bars", this.bars),
        field("Time signature", this.meter),
        field("Seed", this.seed),
        field("Temperature", this.temperature, (value) => Number(value).toFixed(2)),
        field("Vary by", this.amount, (value) => `${Math.round(100 * value)}%`),
      ),
    );
  }

  show({ bpm, bars, meter }) {
    this.bpm.value = Number(bpm.toFixed(3));
    this.bars.value = bars;
    this.meter.value = meter.join("/");
  }

  /** What is asked for, but for what is done with a beat. Throws in words. */
  asked() {
    return {
      words: Object.fromEntries(this.words.map(({ name, value }) => [name, value()])),
      seed: seedOf(this.seed.value),
      bpm: this.bpm.valueAsNumber,
      bars: this.bars.valueAsNumber,
      meter: this.meter.value.split("/").map(Number),
      amount: Number(this.amount.value),
      sampling: { temperature: Number(this.temperature.value) },
    };
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
