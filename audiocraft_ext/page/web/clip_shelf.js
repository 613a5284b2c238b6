// Beats, pieces or songs as a list: those that were kept, and of some kinds those that were just made.

import { newId } from "./clips.js";
import { make } from "./dom.js";
import * as shelf from "./shelf.js";

export class ClipShelf {
  /** `of` is `{kind, bundle, label, stem}`: the kind of the records, whose they are, the list's name, and
   * `stem(recipe, index)`, a clip's own name. `open(record)` shows one again; `drawn(record)` is an element with it. */
  constructor(of, open, drawn = () => "") {
    Object.assign(this, { of, open, drawn });
    this.element = make("ol", { class: "rack", role: "list", "aria-label": of.label });
    shelf.kept(of.kind).then((all) => all.filter((one) => one.recipe.bundle === of.bundle).forEach((one) => this.list(one, true)));
  }

  /** A record of a clip that was made; it is gone with the page, unless it is kept. */
  add({ recipe, index, codes, name = this.of.stem(recipe, index) }) {
    const one = { kind: this.of.kind, id: newId(), at: Date.now(), name, recipe, index, codes: codes.map((row) => row.slice()) };
    this.list(one, false);
    return one;
  }

  /** Keep a clip, or a record of the list. */
  async keep(clip) {
    const one = clip.id ? clip : this.add(clip);
    await shelf.keep(one);
    this.element.querySelector(`[data-clip="${one.id}"]`)?.dispatchEvent(new Event("kept"));
  }

  list(one, kept) {
    const own = this.of.stem(one.recipe, one.index);
    const name = make("input", {
      class: "name",
      "aria-label": "Name",
      value: one.name,
      maxlength: 60,
      onchange: () => {
        one.name = name.value.trim() || own;
        name.value = one.name;
        if (kept) shelf.keep(one);
      },
    });
    const open = make("button", { class: "open", onclick: () => this.open(one) }, "Open"),
      keep = make("button", { class: "keep", onclick: () => this.keep(one) }, "Keep");
    const drop = async () => {
      if (kept) await shelf.drop(one.id);
      element.remove();
    };
    const card = make(
      "div",
      { class: "card" },
      make("div", { class: "row" }, open, name, keep, make("button", { class: "delete", onclick: drop }, "Delete")),
    );
    const mark = () => {
      kept = true;
      card.classList.add("kept");
      keep.hidden = true;
    };
    const element = make("li", { "data-clip": one.id, onkept: mark }, card);
    if (kept) mark();
    this.element.prepend(element);
    card.append(this.drawn(one));
  }

  /** Mark the record that is shown. */
  select(id) {
    for (const item of this.element.children) item.firstChild.setAttribute("aria-current", String(item.dataset.clip === id));
  }
}
