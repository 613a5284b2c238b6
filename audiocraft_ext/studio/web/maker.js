// The seam to the page's own views: the same words as the page's maker.js, answered by this machine's engine.

import { reach } from "./api.js";
import { progress } from "./dom.js";
import { dumps } from "./engine/packing.js";

/** Ask for a clip; `hear` takes what comes of it: `{codes, wav}`. The promise ends with it. */
export function ask(what, request, hear = () => {}) {
  const leaving = new AbortController();
  const promise = what === "open" ? Promise.resolve() : made(request, hear, leaving.signal);
  return { promise, stop: () => leaving.abort() };
}

async function made({ recipe, index }, hear, signal) {
  if (!recipe) throw new Error("the studio's engine makes clips; this cannot be done here yet");
  try {
    const response = await reach("api/clip", { method: "POST", body: dumps({ recipe, index }), signal });
    if (!response.ok) throw new Error((await response.json()).error);
    for await (const line of lines(response.body)) {
      if (line.error) throw new Error(line.error);
      if (line.progress !== undefined) progress(line.progress);
      if (line.codes) await hear({ codes: line.codes.map((row) => Int32Array.from(row)), wav: sound(line.wav) });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part; !(part = await reader.read()).done;) {
    const whole = (rest + part.value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

/** Base64 of little-endian float32; of a beat there is none. */
function sound(text) {
  if (!text) return new Float32Array(0);
  return new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}
