// Makes clips beside the page, so that it stays quick. maker.js says what is asked for and what is answered. What takes
// longest to come is fetched first, and code when it is needed.

const WASM = "ort/ort-wasm-simd-threaded.wasm.gz";
const opened = new Map(); // name to (a promise of) a bundle
const stopped = new Set();
let runtime = start(),
  instruments = null,
  queue = Promise.resolve();

/** What makes clips, by kind. */
const ENGINE = {
  audio: () => import("./engine/sound.js"),
  drums: () => import("./engine/drums.js"),
  notes: () => import("./engine/pieces.js"),
  song: () => import("./engine/songs.js"),
};
const PLAYS = { drums: "playBeat", notes: "playPiece", song: "playSong" }; // of clips without sound

self.onmessage = ({ data }) => {
  if (data.what === "stop") stopped.add(data.id);
  else queue = queue.then(() => answer(data));
};

async function answer({ id, what, name, recipe, index, wav }) {
  const tell = (more, transfer = []) => self.postMessage({ id, ...more }, transfer);
  let steps = 0;
  const stop = async () => {
    if (++steps % 8 === 0) await rest();
    return stopped.has(id);
  };
  try {
    const bundle = await ready(name, (loaded, total) => tell({ loaded, total }));
    const { kind } = bundle.info,
      engine = await ENGINE[kind]();
    if (what === "codes") {
      const share = (done) => tell({ share: done });
      tell({ codes: await engine[PLAYS[kind]](bundle, recipe, index, { stop, share }) });
    }
    if (what === "encode") tell({ codes: await (await import("./engine/codec.js")).encode(bundle, wav) });
    if (what === "sound")
      for await (const piece of engine.playSound(bundle, recipe, index, stop)) {
        tell(piece);
        await rest();
      }
    tell({ done: true });
  } catch (error) {
    tell(stopped.has(id) ? { done: true } : { error: error.message || String(error) });
  }
  stopped.delete(id);
}

const channel = new MessageChannel();
let waiting = null;
channel.port1.onmessage = () => waiting();

/** Let messages in: a request to stop is heard here. */
const rest = () =>
  new Promise((next) => {
    waiting = next;
    channel.port2.postMessage(0);
  });

function ready(name, progress) {
  if (!opened.has(name)) {
    const promise = load(name, progress);
    promise.catch(() => opened.delete(name));
    opened.set(name, promise);
  }
  return opened.get(name);
}

async function load(name, progress) {
  instruments ??= await (await file("instruments.json")).json();
  const info = instruments.find((one) => one.name === name);
  const total = Object.values(info.bytes).reduce((a, b) => a + b);
  let loaded = 0;
  const count = (n) => progress((loaded += n), total);
  runtime ??= start();
  ENGINE[info.kind]().catch(() => {}); // it is asked for again, and fails in words then
  const files = Object.fromEntries(
    Object.keys(info.bytes).map((one) => [plainName(one), unpacked(`${info.path}/${one}`, count)]),
  );
  const { ort, open } = await runtime.catch((error) => {
    runtime = null;
    throw error;
  });
  return open(ort, info, (one) => files[one] ?? unpacked(`${info.path}/${packedName(one)}`, () => {}));
}

/** onnxruntime-web, and what opens a bundle in it. */
async function start() {
  const [wasmBinary, ort, { open }] = await Promise.all([
    unpacked(WASM, () => {}),
    import("./ort/ort.wasm.min.mjs"),
    import("./engine/bundle.js"),
  ]);
  Object.assign(ort.env.wasm, { wasmBinary, numThreads: 1 });
  return { ort, open };
}

const plainName = (name) => name.replace(/(\.planes)?\.gz$/, "");
const packedName = (name) => (name.endsWith(".safetensors") ? `${name}.planes.gz` : name);

/** A file's bytes; of one in gzip, what is in it. Some hosts have unpacked it on the way. */
async function unpacked(path, count) {
  let data = await bytes(path, count);
  if (data[0] === 0x1f && data[1] === 0x8b)
    data = new Uint8Array(
      await new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer(),
    );
  return path.endsWith(".planes.gz") ? (await import("./engine/packing.js")).fromPlanes(data) : data;
}

async function file(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} cannot be read (${response.status}); is the folder whole?`);
  return response;
}

async function bytes(path, count) {
  const parts = [];
  for (let reader = (await file(path)).body.getReader(), part; !(part = await reader.read()).done;) {
    parts.push(part.value);
    count(part.value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
