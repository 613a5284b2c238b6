// The table of a store: one line a file, its slices to listen to, its tempo, split and keep to be corrected.

import { get, post } from "./api.js";
import { make, say } from "./dom.js";
import { table } from "./library_view.js";
import { button, panel, player, quiet, row, select } from "./parts.js";

const SOME = 24, // slices with a button of their own
  LISTED = 60; // files

export class LabelsTable {
  /** `again(store)` prepares the folder anew with the corrected table. */
  constructor(again) {
    Object.assign(this, { again, changes: {} });
    this.box = make("div", {});
    this.title = make("h2", {}, "Table");
    this.element = panel("", this.box);
    this.element.id = "labels";
    this.element.firstElementChild.replaceWith(this.title);
    this.element.hidden = true;
  }

  async open(store) {
    Object.assign(this, { store, changes: {}, listed: LISTED });
    this.element.hidden = false;
    this.title.textContent = `Table of ${store.id}`;
    try {
      this.files = grouped((await get("labels", { store: store.id })).rows);
      this.draw();
      this.element.scrollIntoView({ block: "start" });
    } catch (error) {
      this.box.replaceChildren(quiet(error.message));
    }
  }

  draw() {
    const some = this.files.slice(0, this.listed);
    this.box.replaceChildren(
      quiet(
        "What is said here counts for a whole file. What is in a store stays: the corrected table makes a new store.",
      ),
      table(
        ["file", "tempo, BPM", "split", "keep", "slices", "look at"],
        some.map((one) => this.line(one)),
      ),
      row(
        button("Save", () => this.save(), { class: "main", id: "save-labels" }),
        button("Prepare again with it", () => this.again(this.store), { id: "prepare-again" }),
        ...(this.files.length > this.listed ? [button("Show more", () => this.further())] : []),
      ),
    );
  }

  further() {
    this.listed += LISTED;
    this.draw();
  }

  line({ file, bpm, split, keep, found, flags, slices }) {
    const note = (name, input) => {
      input.setAttribute("aria-label", `${name} of ${file}`);
      input.addEventListener("change", () => {
        this.changes[file] = { ...this.changes[file], [name]: input.value };
        input.closest("tr").classList.add("changed");
      });
      input.value = this.changes[file]?.[name] ?? input.value;
      return input;
    };
    return [
      file,
      note(
        "bpm",
        make("input", { type: "number", min: 20, max: 400, step: "any", value: bpm, placeholder: found || "none" }),
      ),
      note(
        "split",
        chosen(
          [
            ["train", "learn"],
            ["valid", "hold out"],
          ],
          split,
        ),
      ),
      note(
        "keep",
        chosen(
          [
            ["", "yes"],
            ["no", "no"],
          ],
          keep,
        ),
      ),
      make(
        "div",
        { class: "slices" },
        ...slices
          .slice(0, SOME)
          .map(({ path, text }) =>
            path ? player(path, `${file} at ${text}`, text) : make("span", { class: "quiet" }, text),
          ),
      ),
      make("span", { class: "quiet" }, flags),
    ];
  }

  async save() {
    try {
      const { changed } = await post("labels", { store: this.store.id, changes: this.changes });
      say(`${changed} line${changed === 1 ? "" : "s"} of ${this.store.id}/labels.csv changed.`);
      await this.open(this.store);
    } catch (error) {
      say(error.message, true);
    }
  }
}

function chosen(options, value) {
  const element = select(options);
  element.value = value;
  return element;
}

/** Lines by file, in their order. */
function grouped(rows) {
  const files = new Map();
  for (const one of rows) {
    if (!files.has(one.file)) files.set(one.file, { ...one, found: one.slice_bpm, slices: [] });
    const file = files.get(one.file);
    if (one.keep === "no") file.keep = "no";
    if (!one.variant && one.start !== "")
      file.slices.push({ path: one.slice, text: `${Number(one.start).toFixed(1)} s` });
  }
  return [...files.values()];
}
