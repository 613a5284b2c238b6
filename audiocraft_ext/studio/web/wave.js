// A small waveform of a sound of the workspace. It is read when it comes into view, and can then be dragged out as a file.

import { fileUrl, reach } from "./api.js";
import { make } from "./dom.js";
import { draggable } from "./files.js";

const [WIDTH, HEIGHT, RATE] = [160, 28, 8000];
const TYPES = { wav: "audio/wav", mid: "audio/midi", flac: "audio/flac" };
const files = new WeakMap(); // element to its file

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    files
      .get(target)()
      .catch(() => {}); // it was deleted meanwhile
  }
});

/** A waveform of `path`. */
export function wave(path, label) {
  const canvas = make("canvas", {
    width: WIDTH,
    height: HEIGHT,
    class: "small-wave",
    role: "img",
    "aria-label": label,
  });
  carried(canvas, path, async (bytes) => {
    const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes.slice().buffer);
    draw(canvas, sound.getChannelData(0));
  });
  return canvas;
}

/** Make an element a file of the workspace that can be dragged out; `ready(bytes)` hears when it was read. */
export function carried(element, path, ready = () => {}) {
  let bytes = new Uint8Array(0);
  const name = path.split("/").pop();
  files.set(element, async () => {
    bytes = new Uint8Array(await (await reach(fileUrl(path))).arrayBuffer());
    await ready(bytes);
  });
  seen.observe(element);
  element.title = `Drag it out: ${name}`;
  draggable(element, () => ({ name, bytes, type: TYPES[name.split(".").pop()] || "application/octet-stream" }));
}

function draw(canvas, wav) {
  const paint = canvas.getContext("2d");
  paint.fillStyle = "#8fb8ff";
  for (let x = 0; x < WIDTH; x++) {
    let peak = 0;
    const end = Math.floor(((x + 1) / WIDTH) * wav.length);
    for (let i = Math.floor((x / WIDTH) * wav.length); i < end; i++) peak = Math.max(peak, Math.abs(wav[i]));
    const high = Math.max(1, Math.min(1, peak) * HEIGHT);
    paint.fillRect(x, (HEIGHT - high) / 2, 1, high);
  }
}
