// The page: its tabs, its keys, and what makes it work offline.

import { make, progress, say } from "./dom.js";
import { takeFiles } from "./files.js";
import { ask, quiet } from "./maker.js";
import { KINDS, viewOf } from "./views.js";

const TABS = Object.keys(KINDS);
const views = {}, // by tab, each and
  opening = {}, // its promise
  instruments = {};
const QUIET_MS = 1500;
let shown = null;

async function start() {
  const response = await fetch("instruments.json");
  if (!response.ok) throw new Error("instruments.json is not there; write the folder again with 'make page'");
  const all = await response.json();
  for (const name of TABS) instruments[name] = all.filter((one) => one.kind === KINDS[name].kind);
  document.getElementById("instruments").append(...all.map(line));
  const there = TABS.filter((name) => instruments[name].length);
  for (const name of TABS) tab(name).hidden = !there.includes(name);
  const asked = location.hash.slice(1),
    first = there.includes(asked) ? asked : there[0];
  await warm(instruments[first][0], show(first));
  await offline();
}

const KINDS_IN_WORDS = { drums: "drums as MIDI", notes: "MIDI of several instruments", song: "songs for BeepBox" };

/** An instrument in the list of all. */
function line({ name, kind, card, codec, licence, bytes, precision }) {
  const size = Object.values(bytes).reduce((a, b) => a + b) / 1e6,
    what = kind === "audio" ? `sound at ${codec.sample_rate / 1000} kHz` : KINDS_IN_WORDS[kind];
  return make(
    "li",
    {},
    make("strong", {}, name),
    `: ${what}, ${size.toFixed(1)} MB, ${precision}. ${card || ""} Licence: ${licence || "none stated"}.`,
  );
}

/** Load an instrument before it is asked for; `drawn` promises its view. */
async function warm(info, drawn) {
  const { promise } = ask("open", { name: info.name }, ({ loaded, total }) => {
    if (total) progress(loaded / total);
  });
  try {
    await Promise.all([promise, drawn]);
    say(`${info.name} is ready.`);
  } catch (error) {
    say(error.message, true);
  }
  progress(null);
}

/** Fetch all the rest, when the engine has had nothing to do for a while: it would slow the first clip down. */
async function offline() {
  if (!navigator.serviceWorker) return;
  await quiet(QUIET_MS);
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  document.getElementById("offline").hidden = false;
}

const tab = (name) => document.getElementById(`tab-${name}`);

async function show(name) {
  if (shown && shown !== name) views[shown]?.hide();
  shown = name;
  for (const one of TABS) {
    const on = one === name;
    tab(one).setAttribute("aria-selected", String(on));
    tab(one).tabIndex = on ? 0 : -1;
    document.getElementById(one).hidden = !on;
  }
  history.replaceState(null, "", `#${name}`);
  opening[name] ??= viewOf(name, document.getElementById(name), instruments[name]);
  views[name] = await opening[name];
}

const go = (name) => show(name).catch((error) => say(error.message, true));

for (const name of TABS) {
  tab(name).addEventListener("click", () => go(name));
  tab(name).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const there = TABS.filter((one) => instruments[one].length),
      by = event.key === "ArrowRight" ? 1 : there.length - 1;
    const other = there[(there.indexOf(name) + by) % there.length];
    go(other);
    tab(other).focus();
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
  if (views[shown]?.key(event)) event.preventDefault();
});

takeFiles((files) => views[shown]?.drop(files));

start().catch((error) => say(error.message, true));
