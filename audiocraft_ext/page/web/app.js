// The page: its tabs, its keys, and what makes it work offline.

import { make, progress, say } from "./dom.js";
import { DrumsView } from "./drums_view.js";
import { ask } from "./maker.js";
import { SamplerView } from "./sampler_view.js";

const TABS = ["sampler", "drums"];
const views = {};
let shown = null;

async function start() {
  const response = await fetch("instruments.json");
  if (!response.ok) throw new Error("instruments.json is not there; write the folder again with 'make page'");
  const instruments = await response.json();
  const of = (kind) => instruments.filter((one) => one.kind === kind);
  if (of("audio").length) views.sampler = new SamplerView(document.getElementById("sampler"), of("audio"));
  if (of("drums").length) views.drums = new DrumsView(document.getElementById("drums"), of("drums"));
  document.getElementById("instruments").append(...instruments.map(line));
  for (const name of TABS) tab(name).hidden = !views[name];
  const there = TABS.filter((name) => views[name]);
  show(there.includes(location.hash.slice(1)) ? location.hash.slice(1) : there[0]);
  await warm(views[shown].info);
  await offline();
}

/** An instrument in the list of all. */
function line({ name, kind, card, codec, licence, bytes, precision }) {
  const size = Object.values(bytes).reduce((a, b) => a + b) / 1e6,
    what = kind === "audio" ? `sound at ${codec.sample_rate / 1000} kHz` : "drums as MIDI";
  return make(
    "li",
    {},
    make("strong", {}, name),
    `: ${what}, ${size.toFixed(1)} MB, ${precision}. ${card || ""} Licence: ${licence || "none stated"}.`,
  );
}

/** Load an instrument before it is asked for. */
async function warm(info) {
  const { promise } = ask("open", { name: info.name }, ({ loaded, total }) => {
    if (total) progress(loaded / total);
  });
  try {
    await promise;
    say(`${info.name} is ready.`);
  } catch (error) {
    say(error.message, true);
  }
  progress(null);
}

async function offline() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  document.getElementById("offline").hidden = false;
}

const tab = (name) => document.getElementById(`tab-${name}`);

function show(name) {
  if (shown && shown !== name) views[shown].hide();
  shown = name;
  for (const one of TABS) {
    const on = one === name;
    tab(one).setAttribute("aria-selected", String(on));
    tab(one).tabIndex = on ? 0 : -1;
    document.getElementById(one).hidden = !on;
  }
  history.replaceState(null, "", `#${name}`);
}

for (const name of TABS) {
  tab(name).addEventListener("click", () => show(name));
  tab(name).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = TABS.filter((one) => views[one]).find((one) => one !== name);
    if (other) {
      show(other);
      tab(other).focus();
    }
    event.stopPropagation();
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !shown) return;
  const at = event.target,
    text = at.matches("input:not([type=checkbox]):not([type=range]), select, summary");
  if (event.key === "Escape" && text) return at.blur();
  if (text || (event.key === " " && at.matches("button, input"))) return;
  if (event.key.startsWith("Arrow") && at.matches("input[type=range], [role=tab]")) return;
  if (views[shown].key(event)) event.preventDefault();
});

/** Files may be dropped anywhere; an element that takes them itself has said so by then. */
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (event.defaultPrevented || !event.dataTransfer?.files.length) return;
  event.preventDefault();
  views[shown]?.drop([...event.dataTransfer.files]);
});

start().catch((error) => say(error.message, true));
