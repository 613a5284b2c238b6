// A bundle in onnxruntime-web: its graphs, with weights that are read once and lie beside them.

import { OnnxStepper } from "./stepper.js";

const OPTIONS = { executionProviders: ["wasm"], logSeverityLevel: 3 };

/** Open what `info`, a line of instruments.json, says. `read(name)` gives (a promise of) a file's bytes. */
export async function open(ort, info, read) {
  const [graph, weights] = info.lm_files;
  let encoder = null;
  const session = (name, of, data) =>
    ort.InferenceSession.create(name, { ...OPTIONS, externalData: [{ path: of, data }] });
  const lm = await session(await read(graph), weights, await read(weights));
  const bundle = { ort, info, stepper: new OnnxStepper(ort, lm, info.lm) };
  if (info.decoder) {
    const codec = async (graph, part) =>
      session(await read(graph), "codec.safetensors", await read(`${part}.safetensors`));
    bundle.front = await codec("front.onnx", "decoder");
    bundle.back = await codec("back.onnx", "decoder");
    /** Read when a sound is first given. */
    bundle.encoder = () =>
      (encoder ??= codec("encoder.onnx", "encoder").catch((error) => {
        encoder = null;
        throw error;
      }));
  }
  return bundle;
}
