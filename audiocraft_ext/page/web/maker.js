// What makes clips: the page's end of the worker. Another engine may take its place; this is all that it has to do.
//
//   what      in                                   out, any number of pieces, before the promise ends
//   "open"    name                                 {loaded, total}, bytes, while an instrument is read; of all others too
//   "sound"   name, recipe, index                  {codes, wav}: K arrays [t] and Float32Array [n], together the clip;
//                                                  of what cannot be had in pieces {share} and {preview}, a sound to hear
//                                                  meanwhile, then all of it as {codes, wav, about}
//   "codes"   name, recipe, index                  {share}, 0 to 1, and {codes}: K arrays [T]; of beats, pieces and songs
//   "encode"  name, wav: Float32Array [N],         {codes}: K arrays [T]
//             mono, at the codec's rate
//
// A recipe is what a clip's JSON has as one (its seed a BigInt), so any engine that reads those can make it.

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const jobs = new Map();
let last = 0,
  ended = 0; // when a job did

worker.onmessage = ({ data }) => jobs.get(data.id)?.(data);
worker.onerror = (event) => jobs.forEach((hear) => hear({ error: event.message || "the engine cannot start" }));

/** Ask for something; `hear` takes what comes of it. `{promise, stop}`: the promise ends with the last of it, or fails
 * with an Error in words; after `stop()` it ends early. */
export function ask(what, request, hear = () => {}) {
  const id = ++last;
  const promise = new Promise((done, fail) => {
    jobs.set(id, (data) => {
      if (data.error || data.done) {
        jobs.delete(id);
        ended = performance.now();
      }
      if (data.error) fail(new Error(data.error));
      else if (data.done) done();
      else hear(data);
    });
  });
  worker.postMessage({ id, what, ...request });
  return { promise, stop: () => worker.postMessage({ id, what: "stop" }) };
}

/** Ends when nothing was asked for so long. */
export async function quiet(ms) {
  while (jobs.size || performance.now() - ended < ms) await new Promise((done) => setTimeout(done, ms / 4));
}
