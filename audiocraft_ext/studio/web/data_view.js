// Data: a folder of sound or MIDI becomes a token store; its report, its table.

import { get, post, upload } from "./api.js";
import { make, progress, say } from "./dom.js";
import { LabelsTable } from "./labels_table.js";
import { table } from "./library_view.js";
import {
  button,
  check,
  choose,
  fields,
  link,
  number,
  panel,
  quiet,
  redraw,
  row,
  select,
  span,
  typed,
} from "./parts.js";

const MIDI = /\.(mid|midi|kar)$/i;
const CODECS = {
  audio: [
    ["", "the usual one"],
    ["microcodec"],
    ["encodec_32khz", "encodec_32khz (downloads 60 MB)"],
    ["debug", "debug (for tests)"],
  ],
  midi: [
    ["drum_grid", "drums, on a grid"],
    ["drum_hits", "drums, hit by hit"],
    ["notes", "all instruments"],
    ["song", "songs of BeepBox"],
  ],
};
const CUTS = [
  ["bars", "bars, on downbeats"],
  ["fixed", "seconds"],
  ["onsets", "one-shots"],
];

export class DataView {
  constructor(root, studio) {
    Object.assign(this, { root, studio });
    this.source = select([], (value) => this.named(value));
    this.path = make("input", { placeholder: "or a folder of the workspace: packs/jungle", autocomplete: "off" });
    this.store = make("input", { autocomplete: "off", maxlength: 64, placeholder: "my-breaks" });
    this.kind = select(
      [
        ["audio", "sound"],
        ["midi", "MIDI"],
      ],
      () => this.kinds(),
    );
    this.codec = select([]);
    this.cut = select(CUTS);
    this.size = number(2, 0.5, 600);
    this.share = number(0.1, 0, 0.9, 0.05);
    this.variants = number(0, 0, 20, 1);
    this.metronome = check("With a metronome: the model plays in time at any tempo", true);
    this.lock = check("Lock tempo: beats become whole frames", true);
    this.slices = check("Write the slices, to listen to", true);
    this.stores = make("div", {});
    this.labels = new LabelsTable((store) => this.again(store));
    root.append(
      panel("Sound or MIDI", this.zone(), fields(["Folder", this.source], ["Another folder", this.path])),
      panel(
        "Prepare",
        fields(
          ["Kind", this.kind],
          ["Name of the store", this.store],
          ["Codec", this.codec],
          ["Cut into", this.cut],
          ["So many", this.size],
          ["Held out, a share", this.share],
          ["Variants of each", this.variants],
        ),
        (this.sound = row(this.metronome.element, this.lock.element, this.slices.element)),
        row(button("Prepare", () => this.send(this.asked()), { class: "main", id: "prepare" })),
        quiet("Stopped or killed, it goes on where it was. A store that is there takes in what is new."),
      ),
      panel("Token stores", this.stores),
      this.labels.element,
    );
    this.kinds();
  }

  zone() {
    const files = make("input", {
      type: "file",
      multiple: true,
      "aria-label": "Files",
      onchange: () => this.take([...files.files]),
    });
    const zone = make("div", { class: "drop", id: "drop" }, make("p", {}, "Drop files, a folder or a ZIP here"), files);
    zone.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", async (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      this.take(await dropped(event.dataTransfer));
    });
    return zone;
  }

  /** Send files to `sounds/`; what is refused is said, the others are taken. */
  async take(files) {
    if (!files.length) return;
    const first = (files[0].path || files[0].name).split("/")[0].replace(/\.[^.]*$/, "");
    const folder =
      first
        .replace(/[^\w.+-]+/g, "-")
        .replace(/^[^A-Za-z0-9]+/, "")
        .slice(0, 60) || "dropped";
    const wrong = [];
    let taken = 0;
    for (const [at, file] of files.entries()) {
      const inside = (file.path || file.name)
        .split("/")
        .slice(file.path?.includes("/") ? 1 : 0)
        .join("/");
      say(`${at + 1} of ${files.length}: ${file.name}`);
      try {
        taken += (await upload(folder, inside, file, (share) => progress((at + share) / files.length))).files;
      } catch (error) {
        wrong.push(error.message);
      }
    }
    progress(null);
    const refused = wrong.length ? `; ${wrong.length} refused: ${wrong[0]}` : "";
    say(`${taken} file${taken === 1 ? "" : "s"} in sounds/${folder}${refused}`, Boolean(wrong.length));
    await this.shown();
    if (taken) {
      this.source.value = `sounds/${folder}`;
      if (MIDI.test(files[0].name)) this.kind.value = "midi";
      this.named(this.source.value);
    }
  }

  kinds() {
    const audio = this.kind.value === "audio";
    choose(this.codec, CODECS[this.kind.value]);
    choose(this.cut, audio ? CUTS : CUTS.slice(0, 1));
    this.sound.hidden = this.variants.closest(".field").hidden = !audio;
    this.size.value = audio ? 2 : 4;
  }

  named(source) {
    const kind = source.startsWith("shipped:") && source !== "shipped:breaks" ? "midi" : this.kind.value;
    if (source === "shipped:breaks") this.kind.value = "audio";
    else this.kind.value = kind;
    this.kinds();
    if (source === "shipped:songs") this.codec.value = "notes";
    this.store.value = source.split(/[:/]/).pop();
  }

  async shown() {
    const [sources, { stores }] = await Promise.all([get("sources"), get("library")]);
    const before = this.source.value;
    choose(
      this.source,
      sources.map(({ id, files }) => [id, `${id.replace("shipped:", "shipped: ")} (${files} files)`]),
    );
    if (!before && sources.length) this.named(this.source.value);
    redraw(this.stores, JSON.stringify(stores), () => [this.list(stores)]);
  }

  list(stores) {
    return table(
      ["name", "what is in it", "rows", "look"],
      stores.map((one) => [
        one.id,
        one.problem || `${one.kind}, ${span(one.seconds)}, ${one.codec}`,
        one.rows ? `${one.rows.train} to learn, ${one.rows.valid} held out` : "",
        row(
          ...(one.report ? [link("Report", one.report, { "aria-label": `Report of ${one.name}` })] : []),
          ...(one.labels
            ? [button("Table", () => this.labels.open(one), { "aria-label": `Table of ${one.name}` })]
            : []),
        ),
      ]),
    );
  }

  asked() {
    return {
      source: this.path.value.trim() || this.source.value,
      store: this.store.value.trim(),
      kind: this.kind.value,
      codec: this.codec.value,
      cut: this.cut.value,
      cut_size: typed(this.size),
      valid_share: typed(this.share),
      metronome: this.metronome.input.checked && this.codec.value !== "debug",
      lock_tempo: this.lock.input.checked,
      slices: this.slices.input.checked,
      variants: typed(this.variants),
    };
  }

  async send(asked) {
    try {
      const job = await post("prepare", asked);
      say(`${job.about.store} is being prepared.`);
      this.studio.soon();
    } catch (error) {
      say(error.message, true);
    }
  }

  /** The same folder once more, with the corrected table: what is in a store stays, so it becomes another one. */
  async again(store) {
    const name = store.name.replace(/-\d+$/, "") + `-${Number(/-(\d+)$/.exec(store.name)?.[1] || 1) + 1}`;
    if (!store.source)
      return say(
        `${store.name} was made on the command line; give its table to it there: --csv ${store.id}/labels.csv`,
        true,
      );
    await this.send({ source: store.source, store: name, of: store.id });
  }

  ended() {
    return this.shown();
  }
}

/** All files of what was dropped, those in folders with their `path`. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (entry.name.startsWith(".")) return;
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    file.path = entry.fullPath.slice(1);
    found.push(file);
    return;
  }
  const reader = entry.createReader();
  for (let some; (some = await new Promise((done, fail) => reader.readEntries(done, fail))).length;)
    for (const one of some) await walk(one, found);
}
