// Sharing: a bundle goes to the Hugging Face Hub, after a look at what would be sent, and one comes from there.

import { get, post } from "./api.js";
import { make, say } from "./dom.js";
import { table } from "./library_view.js";
import { button, check, choose, fields, panel, quiet, row, select } from "./parts.js";

const PLAYED = /\.(wav|flac|ogg|mp3|mid)$/,
  sizeOf = (bytes) => (bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export class ShareView {
  constructor(root, studio) {
    Object.assign(this, { root, studio });
    const again = () => this.hideSent();
    this.bundle = select([], again);
    this.repo = make("input", { placeholder: "you/name", autocomplete: "off", maxlength: 200, oninput: again });
    this.folder = select([], () => this.listed());
    this.clip = select([["", "none"]], again);
    this.private = check("A new repository is for me alone");
    this.sent = make("div", { id: "sent", tabindex: -1 });
    this.address = make("input", { placeholder: "owner/name or owner/name@revision", autocomplete: "off", maxlength: 400 });
    this.name = make("input", { placeholder: "the repository's", autocomplete: "off", maxlength: 64 });
    root.append(
      panel(
        "Push an instrument to the Hugging Face Hub",
        quiet(
          "Everybody can then play it by its name. The Hub has to know you: set HF_TOKEN before you start the studio, or " +
            "log in with “hf auth login” in a terminal. The page never sees your token.",
        ),
        fields(["Instrument", this.bundle], ["Repository", this.repo], ["Sample from clips/", this.folder], ["Sample", this.clip]),
        row(button("Show what would be sent", () => this.look(), { class: "main", id: "look" }), this.private.element),
        this.sent,
      ),
      panel(
        "Pull an instrument from the Hub",
        quiet("Every file is compared with its hash before the folder gets its name. What is public needs no token."),
        fields(["Address", this.address], ["Folder in bundles/", this.name]),
        row(button("Pull it", () => this.pull(), { class: "main", id: "pull" })),
      ),
    );
  }

  async shown() {
    const { bundles, clips } = await get("library");
    const whole = bundles.filter((one) => !one.problem);
    choose(
      this.bundle,
      [...whole.filter((one) => !one.shipped), ...whole.filter((one) => one.shipped)].map(({ id, kind }) => [
        id,
        `${id} (${kind})`,
      ]),
    );
    choose(this.folder, [["", "none"], ...clips.map(({ id }) => [id])]);
    const wanted = sessionStorage.getItem("share");
    if (whole.some(({ id }) => id === wanted)) {
      this.bundle.value = wanted;
      this.hideSent();
    }
    sessionStorage.removeItem("share");
  }

  /** The clips of the folder that was chosen, of which one may go along. */
  async listed() {
    this.hideSent();
    const all = this.folder.value ? await get("clips", { folder: this.folder.value }) : [];
    const files = all.flatMap((one) => one.files.filter((path) => PLAYED.test(path)).slice(0, 1));
    choose(this.clip, [["", "none"], ...files.map((path) => [path, path.split("/").pop()])]);
  }

  get asked() {
    const samples = this.clip.value ? [this.clip.value] : [];
    return { bundle: this.bundle.value, repo: this.repo.value.trim(), samples, private: this.private.input.checked };
  }

  hideSent() {
    this.sent.replaceChildren();
  }

  async look() {
    this.hideSent();
    try {
      const { asked } = this,
        { files, card, url } = await post("contents", asked);
      const size = files.reduce((sum, { bytes }) => sum + bytes, 0);
      this.sent.replaceChildren(
        quiet(`${files.length} files, ${sizeOf(size)}, would go to ${url}:`),
        table(
          ["file", "size"],
          files.map(({ name, bytes }) => [name, sizeOf(bytes)]),
        ),
        make(
          "details",
          {},
          make("summary", {}, "The model card, README.md"),
          make("pre", { class: "log", tabindex: 0, "aria-label": "The model card" }, card),
        ),
        row(button("Push it", () => this.push(asked), { class: "main", id: "push" })),
      );
      this.sent.focus();
      say(`Nothing was sent yet: ${files.length} files, ${sizeOf(size)}.`);
    } catch (error) {
      say(error.message, true);
    }
  }

  async push(asked) {
    if (await this.start("push", { ...asked, private: this.private.input.checked })) this.hideSent();
  }

  pull() {
    return this.start("pull", { address: this.address.value.trim(), name: this.name.value.trim() });
  }

  async start(what, body) {
    try {
      const job = await post(what, body);
      say(`${job.title}: under way`);
      this.studio.soon();
      return true;
    } catch (error) {
      say(error.message, true);
      return false;
    }
  }

  ended({ what, state, about }) {
    if (state !== "finished") return undefined;
    if (what === "push")
      this.sent.replaceChildren(
        quiet("It is at ", make("a", { href: about.url, target: "_blank", rel: "noopener" }, about.url), "."),
      );
    if (what === "pull")
      say(`${about.bundle} is here: play it in Batch, or load the page again to find it in its own room.`);
    return this.shown();
  }
}
