// Batches: hundreds of clips of any instrument, as files in the workspace's clips/.

import { get, post } from "./api.js";
import { make, say } from "./dom.js";
import {
  button,
  check,
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
  typed,
} from "./parts.js";
import { carried, wave } from "./wave.js";

const SOUND = /\.(wav|flac|ogg|mp3)$/,
  PAGE = 100; // clips that are listed at a time
const WORDS = {
  drums: ["genre", "kind", "density", "intensity", "swing"],
  notes: ["density", "polyphony", "register"],
  song: ["channels", "drums", "rhythm", "beats"],
};
const KEYS = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"],
  BEEPBOX = ".beepbox.json";

export class BatchView {
  constructor(root, studio) {
    Object.assign(this, { root, studio, bundles: [], listed: PAGE, at: -1 });
    this.bundle = select([], () => this.chosen());
    this.n = number(16, 1, 10000, 1);
    this.seed = make("input", { inputmode: "numeric", placeholder: "random", autocomplete: "off" });
    this.precision = select([]);
    this.name = make("input", { placeholder: "instrument and seed", autocomplete: "off", maxlength: 64 });
    this.about = quiet();
    this.own = make("div", { class: "fields wide" });
    this.loop = check("Loops");
    this.weird = make("input", { placeholder: "mutate:share=5%,books=1-3", autocomplete: "off" });
    this.folder = select([], () => this.list(true));
    this.folder.id = "clip-folder";
    this.clips = make("ol", { class: "clips", role: "list", "aria-label": "Clips" });
    this.more = button("Show more", () => {
      this.listed += PAGE;
      return this.list();
    });
    root.append(
      panel(
        "A batch",
        this.about,
        fields(
          ["Instrument", this.bundle],
          ["How many", this.n],
          ["Seed", this.seed],
          ["Precision", this.precision],
          ["Folder in clips/", this.name],
        ),
        this.own,
        row(
          button("Make them", () => this.make(), { class: "main", id: "make-batch" }),
          this.loop.element,
        ),
      ),
      panel(
        "Clips",
        row(make("label", { for: "clip-folder", class: "quiet" }, "Folder"), this.folder),
        this.clips,
        this.more,
      ),
    );
  }

  async shown() {
    const { bundles, clips } = await get("library");
    this.bundles = bundles.filter((one) => !one.problem && one.plays);
    choose(
      this.bundle,
      this.bundles.map(({ id, kind }) => [id, `${id} (${kind})`]),
    );
    if (!this.drawn && this.bundles.some(({ id }) => id === "embedded")) this.bundle.value = "embedded";
    if (this.drawn !== this.bundle.value) this.chosen();
    choose(
      this.folder,
      clips.map(({ id, clips: n }) => [id, `${id} (${n})`]),
    );
    const wanted = sessionStorage.getItem("clips");
    if (clips.some(({ id }) => id === wanted)) this.folder.value = wanted;
    sessionStorage.removeItem("clips");
    await this.list();
  }

  get info() {
    return this.bundles.find((one) => one.id === this.bundle.value);
  }

  chosen() {
    const { info } = this;
    if (!info) return;
    this.drawn = info.id;
    this.about.textContent = info.card;
    choose(
      this.precision,
      info.precisions.map((one) => [one, one === info.precision ? `${one} (its own)` : one]),
    );
    this.precision.value = info.precision;
    this.asked = { bpm: number("", 20, 400), bars: number("", 0.25, 1024), temperature: number("", 0, 10) };
    const rows = [
      ["Tempo, BPM", this.asked.bpm],
      ["Bars", this.asked.bars],
      ["Temperature", this.asked.temperature],
    ];
    if (info.kind === "audio") {
      Object.assign(this.asked, { seconds: number(10, 0.1, 3600), lufs: number("", -40, -5), weird: this.weird });
      rows.unshift(["Seconds, without bars", this.asked.seconds]);
      rows.push(["Loudness, LUFS", this.asked.lufs], ["Weird tools", this.weird]);
    }
    const chosen = (name, words, none) => {
      this.asked[name] = select([["", none], ...words.map((word) => [word])]);
      rows.push([name[0].toUpperCase() + name.slice(1), this.asked[name]]);
    };
    for (const name of WORDS[info.kind] || []) if (info.words[name]) chosen(name, info.words[name], info.kind === "song" ? "usual" : "any");
    if (info.kind === "song") chosen("key", KEYS, "usual");
    if (info.kind === "notes") {
      this.asked.parts = make("input", { placeholder: "drums,bass,piano", autocomplete: "off" });
      rows.push(["Parts, one after the other", this.asked.parts]);
    }
    this.own.replaceChildren(...fields(...rows).children);
    this.loop.element.hidden = info.kind !== "audio";
  }

  async make() {
    const asked = Object.fromEntries(
      Object.entries(this.asked).map(([name, input]) => [name, input.type === "number" ? typed(input) : input.value]),
    );
    const { value } = this.bundle;
    try {
      const job = await post("batch", {
        ...asked,
        bundle: value,
        n: typed(this.n),
        seed: this.seed.value,
        name: this.name.value,
        precision: this.precision.value,
        loop: this.loop.input.checked && !this.loop.element.hidden,
      });
      this.wanted = job.about.folder;
      say(`${job.title}: under way, seed ${job.about.seed}`);
      this.studio.soon();
    } catch (error) {
      say(error.message, true);
    }
  }

  tick(jobs) {
    const on = jobs.find((job) => job.what === "make" && job.state === "running");
    return on ? this.refreshed(on.about.folder) : undefined;
  }

  ended(job) {
    return job.what === "make" ? this.refreshed(job.about.folder) : undefined;
  }

  /** Another look at the folders; a folder that was just begun is shown. */
  async refreshed(folder) {
    const clips = await get("folders");
    choose(
      this.folder,
      clips.map(({ id, clips: n }) => [id, `${id} (${n})`]),
    );
    if (this.wanted === folder && clips.some(({ id }) => id === folder)) {
      this.folder.value = folder;
      this.wanted = null;
    }
    if (this.folder.value === folder) await this.list();
  }

  async list(anew = false) {
    if (anew) [this.listed, this.at] = [PAGE, -1];
    const folder = this.folder.value;
    const all = folder ? await get("clips", { folder }) : [];
    const some = all.slice(0, this.listed);
    this.more.hidden = all.length <= this.listed;
    const key = `${folder}:${some.map(({ name }) => name).join()}`;
    redraw(this.clips, key, () =>
      some.length ? some.map((one) => this.clip(one)) : [make("li", { class: "quiet" }, "No clips yet: make some.")],
    );
  }

  clip({ name, files, bpm }) {
    const sound = files.find((path) => SOUND.test(path)),
      main = sound || files[0],
      ending = (path) => path.split(".").pop();
    const shown = make("span", { class: "clip-name" }, name);
    carried(shown, files.find((path) => path.endsWith(".mid")) || main);
    const element = make(
      "li",
      {},
      sound ? player(sound, name) : make("span"),
      shown,
      sound ? wave(sound, `Waveform of ${name}`) : make("span"),
      make("span", { class: "quiet" }, bpm ? `${Number(bpm.toFixed(2))} BPM` : ""),
      row(
        ...files.map((path) => {
          const text = path.endsWith(BEEPBOX) ? "BeepBox" : path.endsWith(".json") ? "Recipe" : ending(path).toUpperCase();
          return link(text, path, { download: path.split("/").pop(), "aria-label": `${text} of ${name}` });
        }),
        button("Delete", () => this.remove(files.at(-1), element), { "aria-label": `Delete ${name}` }),
      ),
    );
    return element;
  }

  async remove(file, element) {
    try {
      await post("drop", { file });
      element.remove();
    } catch (error) {
      say(error.message, true);
    }
  }

  /** Arrows go through the clips and play them. */
  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key],
      plays = [...this.clips.querySelectorAll("button.play")];
    if (!by || !plays.length) return false;
    this.at = Math.min(Math.max(this.at + by, 0), plays.length - 1);
    plays[this.at].focus();
    plays[this.at].click();
    return true;
  }

  hide() {
    deck.stop();
  }
}
