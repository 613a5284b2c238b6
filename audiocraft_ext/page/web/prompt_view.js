// What a clip begins with: a sound that is dropped on the page, chosen, or recorded.

import { chooseFiles, field, make, say } from "./dom.js";
import { kindOf } from "./files.js";
import { ask } from "./maker.js";

const LARGEST = 200e6, // bytes; all of a file is decoded at once
  SILENT = 1e-4,
  RECORDED = 2; // s

/** A sound file as mono at `rate`, the mean of its channels. Throws in words. */
export async function soundOf(blob, name, rate) {
  if (blob.size > LARGEST) throw new Error(`${name} has ${(blob.size / 1e6).toFixed(0)} MB, and 200 are the most here`);
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
  } catch {
    throw new Error(`${name} cannot be read as sound: expected a file such as WAV, FLAC, MP3, Ogg or M4A`);
  }
  const out = new Float32Array(decoded.length);
  for (let c = 0; c < decoded.numberOfChannels; c++)
    decoded.getChannelData(c).forEach((x, i) => (out[i] += x / decoded.numberOfChannels));
  if (!out.some((x) => Math.abs(x) >= SILENT))
    throw new Error(`${name} is ${out.length ? "silent" : "empty"}; there is nothing to hear in it`);
  return out;
}

export class PromptView {
  /** `info()` is the instrument that is chosen. */
  constructor(info) {
    Object.assign(this, { info, given: null });
    this.record = make("button", { id: "record", onclick: () => this.listen() }, `Record ${RECORDED} s`);
    this.none = make("button", { id: "prompt-none", onclick: () => this.clear() }, "Without it");
    this.seconds = make("input", { type: "number", id: "prompt-seconds", value: 2, min: 0.1, max: 12, step: 0.1 });
    this.about = make("p", { id: "prompt-about" });
    this.length = field("Its last seconds", this.seconds);
    this.element = make(
      "fieldset",
      { id: "prompt" },
      make("legend", {}, "Begin with a sound: drop a file anywhere on the page"),
      make(
        "div",
        { class: "row" },
        ...chooseFiles("prompt-file", "A sound to begin with", "audio/*", ([file]) => this.take(file, file?.name)),
        this.record,
        this.about,
        this.length,
        this.none,
      ),
    );
    this.clear();
  }

  clear() {
    this.given = null;
    this.shown();
  }

  shown() {
    this.about.textContent = this.given ? this.given.name : "";
    for (const one of [this.about, this.length, this.none]) one.hidden = !this.given;
  }

  /** A file that was dropped or chosen. */
  async take(blob, name) {
    if (!blob) return;
    try {
      if ((await kindOf(blob)) === "midi")
        throw new Error(`${name} is a MIDI file, and a sound is expected here; the tab Notes takes MIDI files`);
      const rate = this.info().codec.sample_rate,
        wav = await soundOf(blob, name, rate);
      this.given = { blob, name, rate, wav };
      say(`The next clip begins with the end of ${name} (${(wav.length / rate).toFixed(1)} s).`);
    } catch (error) {
      say(error.message, true);
    }
    this.shown();
  }

  async listen() {
    this.record.disabled = true;
    try {
      if (!navigator.mediaDevices) throw new Error("a page may record over https:// and on localhost only");
      const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      const stream = await navigator.mediaDevices.getUserMedia({ audio: raw }),
        recorder = new MediaRecorder(stream),
        parts = [];
      recorder.ondataavailable = ({ data }) => parts.push(data);
      const ended = new Promise((done) => (recorder.onstop = done));
      recorder.start();
      say("Recording…");
      setTimeout(() => recorder.stop(), 1000 * RECORDED + 100);
      await ended;
      for (const track of stream.getTracks()) track.stop();
      await this.take(new Blob(parts, { type: recorder.mimeType }), "the recording");
    } catch (error) {
      const said = { NotAllowedError: "the browser was not allowed to", NotFoundError: "there is no microphone" };
      say(`Nothing was recorded: ${said[error.name] || error.message}.`, true);
    }
    this.record.disabled = false;
  }

  /** Codes of the last seconds for the instrument, K arrays; null where nothing is given. Throws in words. */
  async codes() {
    const { given } = this,
      info = this.info(),
      { sample_rate: rate } = info.codec,
      seconds = this.seconds.valueAsNumber,
      longest = info.context / info.spec.frame_rate;
    if (!given) return null;
    if (!(seconds > 0 && seconds <= longest))
      throw new Error(`a prompt lasts more than 0 and at most ${longest} s, got ${seconds}`);
    if (given.rate !== rate) Object.assign(given, { rate, wav: await soundOf(given.blob, given.name, rate), key: "" });
    const frames = Math.max(1, Math.round(seconds * info.spec.frame_rate)),
      samples = Math.round((frames * rate) / info.spec.frame_rate),
      key = `${info.name} ${frames}`;
    if (given.key !== key) {
      const wav = given.wav.slice(-samples);
      if (!wav.some((x) => Math.abs(x) >= SILENT)) throw new Error(`the end of ${given.name} is silent`);
      let codes = null;
      say(`Listening to ${given.name}…`);
      await ask("encode", { name: info.name, wav }, (data) => (codes = data.codes || codes)).promise;
      Object.assign(given, { key, codes });
    }
    return given.codes;
  }
}
