// The settings of a beat: prompt words as knobs, tempo, bars, time signature, seed, temperature. And what other kinds' settings
// are made of.

import { field, make, seedOf } from "./dom.js";
import { FACTS, LEVELS, SCALES } from "./engine/words.js";

const METERS = ["4/4", "3/4", "6/8", "7/8", "5/4"];

export const number = (value, min, max, step) => make("input", { type: "number", value, min, max, step });

export const list = (words, value) => {
  const options = words.map((one) => [one].flat()).map(([word, text = word]) => make("option", { value: word, selected: word === value }, text));
  return make("select", {}, ...options);
};

/** Choose a value of a list; one that it has not is added. */
export function pick(select, value) {
  if (![...select.options].some((one) => one.value === value)) select.append(make("option", { value }, value));
  select.value = value;
}

/** A choice among instruments, if there is more than one; `choose(info)` takes another. */
export function chooser(instruments, info, choose) {
  if (instruments.length < 2) return "";
  const names = list(
    instruments.map(({ name }) => name),
    info.name,
  );
  names.addEventListener("change", () => choose(instruments[names.selectedIndex]));
  return make("div", { class: "fields" }, field("Instrument", names));
}

export const twoPlaces = (value) => Number(value).toFixed(2);

/** A slider that begins where the model has it. */
export const temperatureOf = ({ sampling }) =>
  make("input", { type: "range", min: 0.3, max: 1.6, step: 0.05, value: [sampling.temperature ?? 1].flat()[0] });

/** The fields that beats and pieces have alike. */
export const usual = ({ bpm, bars, meter, seed, temperature }) => [
  field("Tempo, BPM", bpm),
  field("Bars", bars),
  field("Time signature", meter),
  field("Seed", seed),
  field("Temperature", temperature, twoPlaces),
];

/** A tempo as its field has it. */
export const shownTempo = (bpm) => Number(bpm.toFixed(3));

export class Knobs {
  /** `ontempo(bpm)` is told of another tempo. */
  constructor(info, ontempo) {
    const prompts = info.codec.prompts?.fields.filter(({ name, words }) => !FACTS.includes(name) && words.length) || [];
    this.words = prompts.map(({ name, words }) => ({ name, ...knob(name, words) }));
    this.bpm = number(120, 20, 400, "any");
    this.bars = number(4, 1, 32, 1);
    this.meter = list(METERS);
    this.seed = make("input", { inputmode: "numeric", placeholder: "random", autocomplete: "off", id: "beat-seed" });
    this.temperature = temperatureOf(info);
    this.amount = make("input", { id: "amount", type: "range", min: 0, max: 1, step: 0.05, value: 0.3 });
    this.bpm.addEventListener("change", () => ontempo(this.bpm.valueAsNumber));
    this.element = make(
      "div",
      { class: "knobs" },
      make("div", { class: "fields" }, ...this.words.map(({ element }) => element)),
      make(
        "div",
        { class: "fields" },
        ...usual(this),
        field("Vary by", this.amount, (value) => `${Math.round(100 * value)}%`),
      ),
    );
  }

  show({ bpm, bars, meter }) {
    this.bpm.value = shownTempo(bpm);
    this.bars.value = bars;
    pick(this.meter, meter.join("/"));
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

/** A prompt field as an input: levels are a slider whose 0 is "any", other words a list. `{element, value}` */
export function knob(name, words, prefix = "word") {
  const label = name[0].toUpperCase() + name.slice(1),
    id = `${prefix}-${name}`;
  if (!SCALES.includes(name) && words[0] !== LEVELS[0]) {
    const select = Object.assign(list([["", "any"], ...words]), { id });
    return { element: field(label, select), value: () => select.value };
  }
  const slider = make("input", { id, type: "range", min: 0, max: words.length, value: 0 });
  return {
    element: field(label, slider, (value) => (Number(value) ? words[value - 1] : "any")),
    value: () => words[slider.value - 1] || "",
  };
}
