// The hit that is chosen in the grid: where it is, its velocity and its time.

import { field, make } from "./dom.js";

export class HitView {
  /** `set({velocity})` or `set({offset})` changes it. */
  constructor(grid, set) {
    this.grid = grid;
    const slider = (name, max) =>
      make("input", { type: "range", min: 0, max, oninput: () => set({ [name]: Number(this[name].value) }) });
    this.label = make("p", { class: "quiet", id: "hit" });
    this.velocity = slider("velocity", grid.velocities);
    this.offset = slider("offset", grid.offsets - 1);
    this.fields = make(
      "div",
      { class: "fields" },
      field("Velocity", this.velocity, (value) => this.loudness(Number(value))),
      field("Time", this.offset, (value) => this.shift(value)),
    );
  }

  loudness = (velocity) => (velocity ? this.grid.loudness(velocity) : "no hit");
  shift = (offset) => `${((100 * (offset - this.grid.onStep)) / this.grid.offsets).toFixed(0)}% of a step`;

  show({ label, velocity, offset }) {
    this.label.textContent = label;
    const put = (input, value, text) => {
      input.value = value;
      const shown = input.parentElement?.querySelector("output");
      if (shown) shown.value = text;
    };
    put(this.velocity, velocity, this.loudness(velocity));
    put(this.offset, offset, this.shift(offset));
    this.offset.disabled = !velocity;
  }
}
