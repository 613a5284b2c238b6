// The library: what there is in the workspace.

import { get } from "./api.js";
import { make } from "./dom.js";
import { button, link, panel, quiet, span } from "./parts.js";

const MB = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

export class LibraryView {
  constructor(root, studio) {
    Object.assign(this, { root, studio });
  }

  async shown() {
    const { bundles, stores, runs, clips } = await get("library");
    this.root.replaceChildren(
      panel(
        "Instruments",
        table(
          ["name", "what it is", "parameters", "size", "precisions", "share"],
          bundles.map((one) => [...bundle(one), this.share(one)]),
        ),
      ),
      panel("Token stores", table(["name", "what is in it", "rows", "report"], stores.map(store))),
      panel("Runs", table(["signature", "state", "updates", "best loss", "settings"], runs.map(run))),
      panel(
        "Clips",
        table(
          ["folder", "clips", "listen"],
          clips.map((one) => this.clips(one)),
        ),
      ),
    );
  }

  clips({ id, clips }) {
    return [id, String(clips), button("Listen", () => this.open(id), { "aria-label": `Listen to ${id}` })];
  }

  share({ id, problem }) {
    return problem ? "" : button("Share", () => this.push(id), { "aria-label": `Share ${id}` });
  }

  push(id) {
    sessionStorage.setItem("share", id);
    this.studio.show("share");
  }

  open(id) {
    sessionStorage.setItem("clips", id);
    this.studio.show("batch");
  }

  ended() {
    return this.shown();
  }
}

function bundle(one) {
  if (one.problem) return [one.id, make("span", { class: "wrong" }, one.problem), "", "", ""];
  return [
    one.id,
    `${one.kind}; ${one.card || "no card"} (${one.licence || "no licence stated"})`,
    `${(one.parameters / 1e6).toFixed(1)} M`,
    MB(one.bytes),
    one.precisions.join(", "),
  ];
}

function store(one) {
  const report = one.report ? link("Report", one.report, { "aria-label": `Report of ${one.name}` }) : "";
  if (one.problem) return [one.id, make("span", { class: "wrong" }, one.problem), "", report];
  const about = `${one.kind}, ${span(one.seconds)}, ${one.codec}${one.metronome ? ", with a metronome" : ""}`;
  return [one.id, about, `${one.rows.train} to learn, ${one.rows.valid} held out`, report];
}

function run(one) {
  const state = one.error ? `${one.state}: ${one.error}` : one.state;
  const settings = Object.entries(one.settings)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
  return [one.sig, state, `${one.step ?? "–"} of ${one.steps ?? "–"}`, one.best?.toFixed(3) ?? "–", quiet(settings)];
}

/** A table in a box that scrolls by itself on a narrow screen. */
export function table(heads, rows) {
  if (!rows.length) return quiet("None yet.");
  const cells = (tag, values) => values.map((value) => make(tag, tag === "th" ? { scope: "col" } : {}, value));
  return make(
    "div",
    { class: "scroll", tabindex: 0 },
    make(
      "table",
      { class: "list" },
      make("thead", {}, make("tr", {}, ...cells("th", heads))),
      make("tbody", {}, ...rows.map((values) => make("tr", {}, ...cells("td", values)))),
    ),
  );
}
