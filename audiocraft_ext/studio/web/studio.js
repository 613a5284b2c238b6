// The studio: its rooms, the keys, and the pulse that asks the server how the jobs are doing.

import { get } from "./api.js";
import { BatchView } from "./batch_view.js";
import { DataView } from "./data_view.js";
import { make, say } from "./dom.js";
import { takeFiles } from "./files.js";
import { JobsView } from "./jobs_view.js";
import { LibraryView } from "./library_view.js";
import { ShareView } from "./share_view.js";
import { deck } from "./parts.js";
import { TrainView } from "./train_view.js";
import { KINDS, viewOf } from "./views.js";

const PULSE_MS = { busy: 1000, idle: 4000 };
const ROOMS = {
  ...Object.fromEntries(Object.entries(KINDS).map(([name, { title }]) => [name, title])),
  batch: "Batch",
  data: "Data",
  train: "Train",
  library: "Library",
  share: "Share",
};
const OWN = { batch: BatchView, data: DataView, train: TrainView, library: LibraryView, share: ShareView };
const views = {},
  tabs = {},
  panels = {};
let shown = null,
  pulse = null,
  jobs = [];

function build() {
  for (const [name, text] of Object.entries(ROOMS)) {
    panels[name] = make("section", { role: "tabpanel", id: name, "aria-labelledby": `tab-${name}`, hidden: true });
    tabs[name] = make(
      "button",
      { role: "tab", id: `tab-${name}`, "aria-controls": name, onclick: () => show(name) },
      text,
    );
    tabs[name].addEventListener("keydown", turn);
  }
  document.querySelector("[role=tablist]").append(...Object.values(tabs));
  document.querySelector("main").append(...Object.values(panels));
}

async function start() {
  build();
  const [instruments, library] = await Promise.all([get("instruments"), get("library")]);
  for (const [name, { kind }] of Object.entries(KINDS)) {
    const mine = instruments.filter((one) => one.kind === kind);
    if (mine.length) views[name] = await viewOf(name, panels[name], mine);
  }
  for (const [name, View] of Object.entries(OWN)) views[name] = new View(panels[name], studio);
  for (const name of Object.keys(ROOMS)) tabs[name].hidden = !views[name];
  document.getElementById("folder").textContent = `Workspace: ${library.folder}`;
  say("The studio is ready.");
  await beat();
  const asked = location.hash.slice(1);
  show(views[asked] ? asked : "sampler");
}

/** What the rooms may ask for: another beat of the pulse at once, another room. */
const studio = { soon: () => beat(), show: (name) => show(name), jobs: () => jobs };

function show(name) {
  if (shown && shown !== name) views[shown].hide?.();
  deck.stop();
  shown = name;
  for (const one of Object.keys(ROOMS)) {
    tabs[one].setAttribute("aria-selected", String(one === name));
    tabs[one].tabIndex = one === name ? 0 : -1;
    panels[one].hidden = one !== name;
  }
  history.replaceState(null, "", `#${name}`);
  tell("shown");
}

/** Call a method of the room that is shown, where it has it. */
function tell(what, ...values) {
  Promise.resolve(views[shown]?.[what]?.(...values)).catch((error) => say(error.message, true));
}

const jobsView = new JobsView(document.getElementById("jobs"), (job) => tell("ended", job));
jobsView.poll = () => beat();

async function beat() {
  clearTimeout(pulse);
  try {
    jobs = await get("jobs");
    jobsView.show(jobs);
    tell("tick", jobs);
  } catch (error) {
    say(error.message, true);
  }
  const busy = jobs.some((job) => job.state === "running") && !document.hidden;
  clearTimeout(pulse);
  pulse = setTimeout(beat, busy ? PULSE_MS.busy : PULSE_MS.idle);
}
document.addEventListener("visibilitychange", () => document.hidden || beat());

function turn(event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key],
    there = Object.keys(ROOMS).filter((name) => views[name]);
  if (!by) return;
  const next = there[(there.indexOf(shown) + by + there.length) % there.length];
  show(next);
  tabs[next].focus();
  event.stopPropagation();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !shown) return;
  const at = event.target,
    text = at.matches("input:not([type=checkbox]):not([type=range]), select, summary, textarea, pre");
  if (event.key === "Escape" && text) return at.blur();
  if (text || (event.key === " " && at.matches("button, input, a"))) return;
  if (event.key.startsWith("Arrow") && at.matches("input[type=range], [role=tab]")) return;
  if (event.key === "Escape") deck.stop();
  if (views[shown].key?.(event)) event.preventDefault();
});

takeFiles((files) => tell("drop", files));

start().catch((error) => say(error.message, true));
