// Parts that the studio's views have in common.

import { fileUrl } from "./api.js";
import { field, make } from "./dom.js";

/** A select of `[value, text]`; `onchange` is told. */
export function select(options, onchange = () => {}, values = {}) {
  const element = make("select", { ...values, onchange: () => onchange(element.value) });
  choose(element, options);
  return element;
}

/** Other options in a select; what was chosen stays chosen where it is still there. */
export function choose(element, options) {
  const before = element.value;
  element.replaceChildren(...options.map(([value, text]) => make("option", { value }, text ?? value)));
  if (options.some(([value]) => value === before)) element.value = before;
}

export const number = (value, min, max, step = "any", placeholder = "") =>
  make("input", { type: "number", value, min, max, step, placeholder });

/** A box to tick with its label. */
export function check(text, checked = false) {
  const input = make("input", { type: "checkbox", checked }),
    element = make("div", { class: "check" }, input);
  input.id = `check-${(check.last = (check.last || 0) + 1)}`;
  element.append(make("label", { for: input.id }, text));
  return { element, input };
}

export const panel = (title, ...children) => make("div", { class: "panel" }, make("h2", {}, title), ...children);
export const fields = (...all) =>
  make("div", { class: "fields wide" }, ...all.map(([text, input]) => field(text, input)));
export const row = (...children) => make("div", { class: "row" }, ...children);
export const quiet = (...children) => make("p", { class: "quiet" }, ...children);
export const button = (text, onclick, values = {}) => make("button", { type: "button", ...values, onclick }, text);
export const link = (text, path, values = {}) => make("a", { href: fileUrl(path), target: "_blank", ...values }, text);

/** A number as it was typed; undefined where nothing was. */
export const typed = (input) => (input.value === "" ? undefined : Number(input.value));

/** How long, in words. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Plays one file at a time; its button says what a press does. */
class Deck {
  constructor() {
    this.audio = new Audio();
    this.button = null;
    this.audio.addEventListener("ended", () => this.stop());
    this.audio.addEventListener("error", () => this.button && this.stop());
  }

  toggle(path, pressed) {
    const again = this.button === pressed;
    this.stop();
    if (again) return;
    this.button = pressed;
    pressed.textContent = "Stop";
    pressed.ariaLabel = `Stop ${pressed.dataset.label}`;
    this.audio.src = fileUrl(path);
    this.audio.play().catch(() => this.stop());
  }

  stop() {
    this.audio.pause();
    if (this.button) {
      this.button.textContent = this.button.dataset.text;
      this.button.ariaLabel = `Play ${this.button.dataset.label}`;
    }
    this.button = null;
  }
}
export const deck = new Deck();

/** A button that plays a file of the workspace; `text` is what stands on it. */
export function player(path, label, text = "Play") {
  const act = () => deck.toggle(path, element);
  const element = button(text, act, { class: "play", "data-text": text, "data-label": label });
  element.ariaLabel = `Play ${label}`;
  return element;
}

/** Replace what is in an element only where it has changed: whoever has the focus in it keeps it. */
export function redraw(element, key, ...children) {
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...children.flatMap((one) => (typeof one === "function" ? one() : [one])));
}
