// The page's end of the worker.

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const jobs = new Map();
let last = 0;

worker.onmessage = ({ data }) => jobs.get(data.id)?.(data);
worker.onerror = (event) => jobs.forEach((hear) => hear({ error: event.message || "the engine cannot start" }));

/** Ask for something; `hear` takes what comes of it: `{loaded, total}`, `{codes, wav}`. The promise ends with it. */
export function ask(what, request, hear = () => {}) {
  const id = ++last;
  const promise = new Promise((done, fail) => {
    jobs.set(id, (data) => {
      if (data.error || data.done) jobs.delete(id);
      if (data.error) fail(new Error(data.error));
      else if (data.done) done();
      else hear(data);
    });
  });
  worker.postMessage({ id, what, ...request });
  return { promise, stop: () => worker.postMessage({ id, what: "stop" }) };
}
