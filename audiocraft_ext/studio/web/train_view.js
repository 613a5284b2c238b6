// Training: start a run, see and hear it learn, stop it, go on, make an instrument of it; grids.

import { get, post } from "./api.js";
import { chart } from "./chart.js";
import { make, say } from "./dom.js";
import {
  button,
  choose,
  deck,
  fields,
  link,
  number,
  panel,
  player,
  quiet,
  redraw,
  row,
  select,
  span,
  typed,
} from "./parts.js";

export class TrainView {
  constructor(root, studio) {
    Object.assign(this, { root, studio, open: null });
    this.store = select([], () => this.stored());
    this.start = select([]);
    this.solver = select([], () => this.described());
    this.scale = select([]);
    this.updates = number("", 1, 1e7, 1, "the recipe's");
    this.minutes = number("", 0.1, 1e5, "any", "no limit");
    this.batch = number("", 1, 1024, 1, "the recipe's");
    this.lr = number("", 1e-7, 1, "any", "the recipe's");
    this.about = quiet();
    this.fits = make("p", { class: "quiet", id: "fits" });
    this.runs = make("ol", { class: "rack", role: "list", "aria-label": "Runs" });
    this.detail = make("div", { class: "panel", id: "run" });
    this.detail.hidden = true;
    this.grid = select([], () => this.gridded());
    this.gridAbout = quiet();
    this.buttons = [
      button("Start", () => this.begin(), { class: "main", id: "train" }),
      button("Does it fit?", () => this.check(), { id: "check" }),
    ];
    root.append(
      panel(
        "A run",
        fields(
          ["Token store", this.store],
          ["Begin with", this.start],
          ["Recipe", this.solver],
          ["Scale", this.scale],
          ["Updates", this.updates],
          ["Stop after, minutes", this.minutes],
          ["Batch size", this.batch],
          ["Learning rate", this.lr],
        ),
        this.about,
        row(...this.buttons),
        this.fits,
      ),
      panel("Runs", this.runs),
      this.detail,
      panel(
        "Sweeps",
        fields(["Grid", this.grid]),
        this.gridAbout,
        row(
          button("Start", () => this.sweep(), { "aria-label": "Start the grid" }),
          button("Cancel its runs", () => this.sweep(true)),
          (this.page = make("span", {})),
        ),
      ),
    );
  }

  async shown() {
    const [known, library] = await Promise.all([get("recipes"), get("library")]);
    this.known = known;
    this.bundles = library.bundles.filter((one) => !one.problem);
    this.stores = library.stores.filter((one) => !one.problem);
    const before = this.store.value;
    choose(
      this.store,
      this.stores.map(({ id, kind, seconds }) => [id, `${id} (${kind}, ${span(seconds)})`]),
    );
    choose(this.scale, [["", "the recipe's"], ...known.scales.map(({ name }) => [name])]);
    choose(
      this.grid,
      known.grids.map(({ name }) => [name]),
    );
    for (const one of this.buttons) one.disabled = !this.stores.length;
    if (!this.stores.length) this.about.textContent = "There is no token store yet: prepare some sound in Data.";
    if (this.store.value !== before) this.stored();
    this.gridded();
    this.list(library.runs);
  }

  stored() {
    const store = this.stores.find((one) => one.id === this.store.value);
    if (!store) return;
    const solvers = this.known.solvers[store.kind] || [];
    choose(
      this.solver,
      solvers.map(({ name }) => [name]),
    );
    this.solver.value = this.known.usual[store.kind];
    choose(this.start, [
      ["", "nothing (from scratch)"],
      ...this.bundles.filter((one) => one.kind === store.kind).map(({ id }) => [id]),
    ]);
    this.start.value = store.kind === "audio" && store.metronome ? "embedded" : "";
    this.described();
  }

  described() {
    const store = this.stores.find((one) => one.id === this.store.value);
    this.about.textContent =
      this.known.solvers[store?.kind]?.find(({ name }) => name === this.solver.value)?.about || "";
  }

  gridded() {
    const grid = this.known.grids.find(({ name }) => name === this.grid.value);
    this.gridAbout.textContent = grid?.about || "";
    redraw(this.page, grid?.page || "", () => (grid?.page ? [link("Its page", grid.page)] : []));
  }

  asked() {
    return {
      store: this.store.value,
      start: this.start.value,
      solver: this.solver.value,
      scale: this.scale.value,
      updates: typed(this.updates),
      minutes: typed(this.minutes),
      batch_size: typed(this.batch),
      lr: typed(this.lr),
    };
  }

  async check() {
    await this.busy("Building the model to see whether it fits…", async () => {
      const { memory, parameters, signature, command } = await post("check", this.asked());
      this.fits.replaceChildren(
        `It fits: ${memory}; ${parameters} parameters. Run ${signature}; the same on a command line: `,
        make("code", {}, command),
      );
    });
  }

  async begin() {
    await this.busy("Building the model, to see whether it fits; then it starts…", async () => {
      const job = await post("train", this.asked());
      this.fits.textContent = `Run ${job.about.run} has started.`;
      this.open = job.about.run;
      this.studio.soon();
    });
  }

  async busy(words, act) {
    for (const one of this.buttons) one.disabled = true;
    this.fits.className = "quiet";
    this.fits.textContent = words;
    try {
      await act();
    } catch (error) {
      this.fits.className = "wrong";
      this.fits.textContent = error.message;
    }
    for (const one of this.buttons) one.disabled = false;
  }

  list(runs) {
    redraw(this.runs, JSON.stringify([runs, this.open]), () =>
      runs.length ? runs.map((one) => this.run(one)) : [make("li", { class: "quiet" }, "No runs yet.")],
    );
    return this.open ? this.detailed(this.open) : undefined;
  }

  run(one) {
    const on = one.state === "running",
      words = [
        one.state,
        one.steps ? `${one.step} of ${one.steps} updates` : "",
        one.valid ? `valid ${one.valid.toFixed(3)}` : "",
        on && one.left_s ? `${span(one.left_s)} left` : "",
      ];
    const act = (text, what, more = {}) =>
      button(text, () => this.ask(what, { run: one.sig, ...more }), { "aria-label": `${text} ${one.sig}` });
    const settings = Object.entries(one.settings).filter(([key]) => key !== "label");
    return make(
      "li",
      { class: "run", "aria-current": String(this.open === one.sig) },
      row(
        button(one.sig, () => this.toggle(one.sig), { "aria-expanded": String(this.open === one.sig) }),
        make("span", { class: one.error ? "wrong" : "" }, words.filter(Boolean).join(", ")),
        ...(on ? [act("Stop", "stop-run"), act("Kill", "stop-run", { now: true })] : []),
        ...(["stopped", "interrupted", "failed"].includes(one.state) ? [act("Resume", "resume")] : []),
      ),
      ...(one.error ? [make("p", { class: "wrong" }, one.error)] : []),
      quiet(
        settings
          .map(([key, value]) => `${key.split(/[./]/).pop()} ${value.split("/").slice(-2).join("/")}`)
          .join(" · "),
      ),
    );
  }

  async ask(what, body) {
    try {
      await post(what, body);
      this.studio.soon();
    } catch (error) {
      say(error.message, true);
    }
  }

  toggle(sig) {
    this.open = this.open === sig ? null : sig;
    this.detail.hidden = true;
    this.detail.dataset.key = "";
    deck.stop();
    return this.shown();
  }

  async detailed(sig) {
    const one = await get("run", { run: sig }).catch(() => null);
    if (!one || this.open !== sig) return;
    this.detail.hidden = false;
    const curves = [one.curve.train.length, one.curve.valid.length, one.samples.length, one.checkpoint, one.state];
    redraw(this.detail, `${sig}${curves}`, () => [
      make("h2", {}, `Run ${sig}`),
      one.curve.train.length ? chart(one.curve) : quiet("No losses yet; the first come in a moment."),
      ...one.samples.map(({ name, clips }) =>
        row(
          make("span", {}, name.replace("_", " ")),
          ...clips.map(({ file, plays }, at) =>
            plays ? player(file, `${name}, clip ${at}`) : link(`MIDI ${at + 1}`, file),
          ),
        ),
      ),
      ...(one.samples.length ? [] : [quiet("Clips to listen to come while it trains.")]),
      ...(one.checkpoint ? [this.exporting(sig)] : []),
    ]);
  }

  exporting(sig) {
    const name = make("input", { value: `run-${sig}`, id: "bundle-name", autocomplete: "off", maxlength: 64 });
    return row(
      make("label", { for: "bundle-name", class: "quiet" }, "As an instrument in bundles/"),
      make("span", { class: "grow" }, name),
      button("Export", () => this.ask("export", { run: sig, name: name.value.trim() }), { id: "export" }),
    );
  }

  async sweep(cancel = false) {
    await this.ask("sweep", { grid: this.grid.value, cancel });
  }

  async tick(jobs) {
    if (!this.page.children.length && jobs.some((job) => job.what === "sweep" && job.state === "running")) {
      this.known = await get("recipes"); // its page is there after a while
      this.gridded();
    }
    const on = jobs.some((job) => ["train", "sweep"].includes(job.what) && job.state === "running");
    if (on || this.was) this.list(await get("runs"));
    this.was = on;
  }

  ended() {
    return this.shown();
  }
}
