// The beats that were kept, as a list.

import { newId } from "./clips.js";
import { make } from "./dom.js";
import { beatStem } from "./engine/drums.js";
import * as shelf from "./shelf.js";

export class BeatShelf {
  /** `open(record)` shows one again. */
  constructor(bundle, open) {
    this.open = open;
    this.element = make("ol", { class: "rack", role: "list", "aria-label": "Kept beats" });
    shelf
      .kept("drums")
      .then((all) => all.filter((one) => one.recipe.bundle === bundle).forEach((one) => this.list(one)));
  }

  async keep({ recipe, index, codes }) {
    const name = beatStem(recipe, index);
    const one = { kind: "drums", id: newId(), at: Date.now(), name, recipe, index, codes: codes.map((row) => row.slice()) };
    await shelf.keep(one);
    this.list(one);
  }

  list(one) {
    const own = beatStem(one.recipe, one.index);
    const name = make("input", {
      class: "name",
      "aria-label": "Name of the beat",
      value: one.name,
      maxlength: 60,
      onchange: () => {
        one.name = name.value.trim() || own;
        name.value = one.name;
        shelf.keep(one);
      },
    });
    const open = make(
      "button",
      { onclick: () => this.open({ ...one, name: one.name === own ? "" : one.name }) },
      "Open",
    );
    const drop = async () => {
      await shelf.drop(one.id);
      element.remove();
    };
    const element = make(
      "li",
      {},
      make("div", { class: "card kept" }, make("div", { class: "row" }, open, name, make("button", { onclick: drop }, "Delete"))),
    );
    this.element.prepend(element);
  }
}
