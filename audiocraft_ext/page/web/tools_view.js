// The weird tools of a clip in the rack: a button each; what comes of it is a child of the clip.

import { make } from "./dom.js";
import { measureOf, OTHER, PRESETS } from "./engine/presets.js";
import { stemOf } from "./engine/recipe.js";
import { plain } from "./files.js";

/** `others()` gives the clips that it may be mixed with, `play(clip, weird, clips)` makes a child, `more(clip)` goes on
 * from its end. Filled when it is first opened. */
export function toolsOf(clip, info, { others, play, more }) {
  const buttons = make("div", { class: "row" }),
    mixed = make("div", { class: "row" }),
    other = make("select", { class: "other", "aria-label": "The other clip" });
  const summary = make("summary", {}, "Change it");
  const element = make("details", { class: "tools" }, summary, buttons, mixed);
  element.addEventListener("toggle", () => {
    if (!element.open) return;
    const measure = measureOf(info, clip),
      fitting = PRESETS.filter((one) => one.fits(measure));
    const button = (one) =>
      make(
        "button",
        { class: "tool", "data-tool": one.name, title: one.text, onclick: () => act(one, measure) },
        one.title,
      );
    const rest = others();
    other.replaceChildren(...rest.map((one) => make("option", { value: one.id }, one.name)));
    const on = { class: "tool", "data-tool": "more", title: "the model goes on from its end", onclick: () => more(clip) };
    buttons.replaceChildren(make("button", on, "Go on"), ...fitting.filter((one) => !one.other).map(button));
    mixed.replaceChildren(make("span", { class: "quiet" }, "With"), other, ...fitting.filter((one) => one.other).map(button));
    mixed.hidden = !rest.length;
  });

  function act(one, measure) {
    if (!one.other) return play(clip, one.chain(measure), {});
    const found = others().find(({ id }) => id === other.value);
    if (!found) return undefined;
    const name = `${plain(stemOf(found.recipe, found.index))}.wav`;
    return play(clip, one.chain(measure).replace(OTHER, name), { [name]: found.codes });
  }
  return element;
}
