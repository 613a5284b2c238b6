// The jobs: what is under way, at the top of every room; what has ended until it is put away.

import { get, post } from "./api.js";
import { make, say } from "./dom.js";
import { button, redraw, row } from "./parts.js";

const WORDS = { running: "under way", finished: "done", failed: "failed", stopped: "stopped", killed: "killed" };
const SHOWN = 6;

export class JobsView {
  /** `changed(job)` hears of each job that has come to an end. */
  constructor(root, changed) {
    Object.assign(this, { root, changed, known: new Map() });
    this.list = make("ul", { class: "jobs", role: "list" });
    this.past = make("ul", { class: "jobs", role: "list" });
    this.count = make("summary", {});
    this.done = make("details", { class: "past" }, this.count, this.past);
    this.log = make("pre", { class: "log", tabindex: 0, "aria-label": "What the job said" });
    this.log.hidden = true;
    root.append(this.list, this.done, this.log);
  }

  show(jobs) {
    for (const job of jobs) {
      const before = this.known.get(job.id);
      this.known.set(job.id, job.state);
      if (before === "running" && job.state !== "running") {
        say(`${job.title}: ${WORDS[job.state]}${job.error ? `; ${job.error}` : ""}`, job.state === "failed");
        this.changed(job);
      }
    }
    const done = jobs.filter(({ state }) => state === "finished");
    this.lines(this.list, jobs.filter((job) => !done.includes(job)).slice(0, SHOWN));
    this.lines(this.past, done.slice(0, SHOWN));
    this.done.hidden = !done.length;
    this.count.textContent = `${done.length} job${done.length === 1 ? "" : "s"} done`;
    if (!this.log.hidden) this.read(this.log.dataset.job);
  }

  lines(list, jobs) {
    const key = jobs.map(({ id, state }) => id + state).join();
    redraw(list, key, () => jobs.map((job) => this.line(job)));
    jobs.forEach((job) => this.fill(job));
  }

  line(job) {
    const on = job.state === "running";
    const act = (text, what, body = {}) => button(text, () => this.ask(what, { job: job.id, ...body }));
    const element = make(
      "li",
      { id: `job-${job.id}`, class: job.state },
      make("strong", {}, job.title),
      make("progress", { max: 1, "aria-label": `Progress of ${job.title}` }),
      make("span", { class: "quiet said" }),
      row(
        ...(on ? [act("Stop", "stop"), act("Kill", "stop", { now: true })] : []),
        ...(["stopped", "killed", "failed"].includes(job.state) ? [act("Go on", "again")] : []),
        button("Log", () => this.read(job.id, true)),
        ...(on ? [] : [act("Put away", "forget")]),
      ),
    );
    return element;
  }

  fill(job) {
    const element = document.getElementById(`job-${job.id}`),
      bar = element?.querySelector("progress");
    if (!element) return;
    bar.hidden = job.state !== "running";
    if (job.progress === null || job.progress === undefined) bar.removeAttribute("value");
    else bar.value = job.progress;
    element.querySelector(".said").textContent =
      job.state === "running" ? job.line || "starting…" : `${WORDS[job.state]}${job.error ? `: ${job.error}` : ""}`;
  }

  async ask(what, body) {
    try {
      await post(what, body);
      this.poll?.();
    } catch (error) {
      say(error.message, true);
    }
  }

  async read(id, toggle = false) {
    if (toggle && !this.log.hidden && this.log.dataset.job === id) {
      this.log.hidden = true;
      return;
    }
    try {
      const { log } = await get("log", { job: id });
      this.log.dataset.job = id;
      this.log.textContent = log || "It has said nothing yet.";
      if (toggle) {
        this.log.hidden = false;
        this.log.scrollTop = this.log.scrollHeight;
      }
    } catch {
      this.log.hidden = true; // it was put away
    }
  }
}
