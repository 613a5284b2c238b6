// A beat as a table of steps: seen, heard at a click, changed with mouse or keys.

import { make } from "./dom.js";

export class GridView {
  /** `onedit()` is called after each change; `onpick(where)` when a cell is chosen; `ondrop(name, file)` when a file is
   * dropped on the lane of a class. */
  constructor(grid, onedit, onpick, ondrop) {
    Object.assign(this, { grid, onedit, onpick, ondrop, locked: new Set(), bars: new Set() });
    this.element = make("div", { class: "scroll" });
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  show(codes, meter) {
    const { grid } = this,
      C = grid.classes.length,
      bar = grid.barSteps(meter),
      beat = grid.steps / 4;
    this.codes = codes;
    this.cells = Array.from({ length: C }, () => []);
    const rows = grid.classes.map(({ name }, drum) => {
      const title = name.replaceAll("_", " ");
      const lock = make("input", {
        type: "checkbox",
        "aria-label": `Keep ${title}`,
        checked: this.locked.has(name),
        onchange: () => (lock.checked ? this.locked.add(name) : this.locked.delete(name)),
      });
      const cells = Array.from({ length: codes[0].length }, (_, step) => {
        const place = `${title}, bar ${Math.floor(step / bar) + 1} step ${(step % bar) + 1}`;
        const shades = `cell${(step % bar) % (2 * beat) < beat ? " beat" : ""}${step % bar === 0 && step ? " bar" : ""}`;
        const cell = make(
          "button",
          {
            class: shades,
            tabindex: -1,
            "aria-label": place,
            onclick: () => {
              this.pick(drum, step);
              this.toggle();
            },
          },
          make("i"),
        );
        this.cells[drum].push(cell);
        return make("td", {}, cell);
      });
      const dropped = (event) => {
        const [file] = event.dataTransfer?.files || [];
        if (!file) return;
        event.preventDefault();
        this.ondrop(name, file);
      };
      return make(
        "tr",
        { "data-lane": name, ondrop: dropped },
        make("th", { scope: "row" }, make("label", {}, lock, title)),
        ...cells,
      );
    });
    this.element.replaceChildren(
      make(
        "table",
        {
          class: "grid",
          "aria-label": "Hits: arrows move, Enter sets, plus and minus change the velocity, brackets the time",
        },
        make("thead", {}, this.heads(Math.ceil(codes[0].length / bar), bar, codes[0].length)),
        make("tbody", {}, ...rows),
      ),
    );
    for (let drum = 0; drum < C; drum++) for (let step = 0; step < codes[0].length; step++) this.paint(drum, step);
    const at = this.at && this.at.drum < C && this.at.step < codes[0].length ? this.at : { drum: 0, step: 0 };
    this.pick(at.drum, at.step, false);
  }

  /** A row with a box for each bar, which the bars that are made anew are ticked in. */
  heads(bars, bar, steps) {
    for (const number of this.bars) if (number > bars) this.bars.delete(number);
    const heads = Array.from({ length: bars }, (_, i) => {
      const box = make("input", {
        type: "checkbox",
        "aria-label": `Bar ${i + 1} anew`,
        checked: this.bars.has(i + 1),
        onchange: () => (box.checked ? this.bars.add(i + 1) : this.bars.delete(i + 1)),
      });
      const colspan = Math.min(bar, steps - i * bar);
      return make("th", { scope: "col", colspan }, make("label", {}, box, String(i + 1)));
    });
    return make("tr", {}, make("td", {}), ...heads);
  }

  get hit() {
    const { drum, step } = this.at,
      C = this.grid.classes.length;
    return { velocity: this.codes[drum][step], offset: this.codes[C + drum][step] };
  }

  pick(drum, step, focus = true) {
    if (this.at) this.cells[this.at.drum]?.[this.at.step]?.setAttribute("tabindex", "-1");
    this.at = { drum, step };
    const cell = this.cells[drum][step];
    cell.tabIndex = 0;
    if (focus) cell.focus();
    this.onpick({ label: cell.getAttribute("aria-label"), ...this.hit });
  }

  toggle() {
    const { grid } = this;
    this.set(
      this.hit.velocity
        ? { velocity: 0, offset: grid.onStep }
        : { velocity: grid.velocityCode(100), offset: grid.onStep },
    );
  }

  /** Velocity and offset, as codes, of the chosen cell. */
  set({ velocity = this.hit.velocity, offset = this.hit.offset }) {
    const { drum, step } = this.at,
      { grid } = this;
    this.codes[drum][step] = Math.min(Math.max(velocity, 0), grid.velocities);
    this.codes[grid.classes.length + drum][step] =
      velocity > 0 ? Math.min(Math.max(offset, 0), grid.offsets - 1) : grid.onStep;
    this.paint(drum, step);
    this.onpick({ label: this.cells[drum][step].getAttribute("aria-label"), ...this.hit });
    this.onedit();
  }

  paint(drum, step) {
    const { grid } = this,
      cell = this.cells[drum][step],
      velocity = this.codes[drum][step];
    cell.setAttribute("aria-pressed", String(velocity > 0));
    cell.firstChild.style.setProperty("--loud", 15 + (85 * velocity) / grid.velocities);
    cell.firstChild.style.setProperty(
      "--shift",
      (60 * (this.codes[grid.classes.length + drum][step] - grid.onStep)) / grid.offsets,
    );
  }

  key(event) {
    if (!event.target.matches(".cell")) return;
    const { drum, step } = this.at,
      C = this.grid.classes.length,
      T = this.codes[0].length;
    const go = (d, s) => this.pick(Math.min(Math.max(d, 0), C - 1), Math.min(Math.max(s, 0), T - 1));
    const change = (what) => this.hit.velocity && this.set(what);
    const actions = {
      ArrowLeft: () => go(drum, step - 1),
      ArrowRight: () => go(drum, step + 1),
      ArrowUp: () => go(drum - 1, step),
      ArrowDown: () => go(drum + 1, step),
      Home: () => go(drum, 0),
      End: () => go(drum, T - 1),
      Enter: () => this.toggle(),
      Delete: () => this.hit.velocity && this.toggle(),
      "+": () => change({ velocity: this.hit.velocity + 2 }),
      "-": () => change({ velocity: Math.max(1, this.hit.velocity - 2) }),
      "[": () => change({ offset: this.hit.offset - 1 }),
      "]": () => change({ offset: this.hit.offset + 1 }),
    };
    if (!actions[event.key]) return;
    actions[event.key]();
    event.preventDefault();
    event.stopPropagation();
  }

  /** Mark the step that is heard; null none. */
  now(step) {
    if (this.marked === step) return;
    for (const row of this.cells) {
      row[this.marked]?.classList.remove("now");
      row[step]?.classList.add("now");
    }
    this.marked = step;
  }
}
