// The seam to the page's own views: the same words as the page's maker.js, answered by this machine's engine.

import { reach } from "./api.js";
import { progress } from "./dom.js";
import { dumps } from "./engine/packing.js";

const ANSWERS = { open: async () => {}, sound: made, codes: made, encode: encoded };

/** As the page's: `{promise, stop}`; `hear` takes what comes of it. */
export function ask(what, request, hear = () => {}) {
  const leaving = new AbortController();
  return { promise: ANSWERS[what](request, hear, leaving.signal), stop: () => leaving.abort() };
}

async function encoded({ name, wav }, hear, signal) {
  const response = await reach(`api/encode?${new URLSearchParams({ name })}`, { method: "POST", body: wav, signal });
  const said = await response.json();
  if (!response.ok) throw new Error(said.error);
  hear({ codes: said.codes.map((row) => Int32Array.from(row)) });
}

async function made({ recipe, index }, hear, signal) {
  try {
    const response = await reach("api/clip", { method: "POST", body: dumps({ recipe, index }), signal });
    if (!response.ok) throw new Error((await response.json()).error);
    for await (const line of lines(response.body)) {
      if (line.error) throw new Error(line.error);
      if (line.progress !== undefined) progress(line.progress);
      if (!line.codes) continue;
      const codes = line.codes.map((row) => Int32Array.from(row));
      await hear(line.wav ? { codes, wav: sound(line.wav), about: line.about } : { codes });
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

/** Base64 of little-endian float32. */
function sound(text) {
  return new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}
