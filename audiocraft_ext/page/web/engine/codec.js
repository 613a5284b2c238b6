// Whole sounds to codes and back: the twins of `encode` and `decode` in audiocraft_ext/audio/engine.py.

import { Decoder } from "./decoder.js";
import { rint } from "./numbers.js";

export const hopOf = (info) => rint(info.codec.sample_rate / info.spec.frame_rate);

/** A decoder for one clip of the bundle. */
export function decoderOf(bundle) {
  const { spec, decoder } = bundle.info;
  return new Decoder(bundle.ort, bundle.front, bundle.back, decoder, spec.n_q - (spec.controls || 0));
}

/** K arrays [T] to `Float32Array [T * hop]`. */
export async function decode(bundle, codes) {
  const out = new Float32Array(codes[0].length * hopOf(bundle.info));
  let at = 0;
  for await (const wav of decoderOf(bundle).push(codes, true)) {
    out.set(wav, at);
    at += wav.length;
  }
  return out;
}

/** `Float32Array [N]` at the codec's rate to K arrays [T]; the last frame is filled up with silence. */
export async function encode(bundle, sound) {
  const { info, ort } = bundle,
    hop = hopOf(info),
    second = rint(info.spec.frame_rate),
    T = Math.ceil(sound.length / hop),
    wav = new Float32Array(T * hop);
  wav.set(sound);
  const session = await bundle.encoder();
  const piece = async (from, to) => {
    const data = wav.slice(from * hop, to * hop);
    const { codes } = await session.run({ wav: new ort.Tensor("float32", data, [1, 1, data.length]) });
    return Array.from({ length: codes.dims[1] }, (_, k) =>
      Int32Array.from(codes.data.subarray(k * codes.dims[2], (k + 1) * codes.dims[2]), Number),
    );
  };
  const size = 10 * second,
    around = 2 * second;
  if (T <= size + 2 * around) return piece(0, T);
  const K = info.spec.n_q - (info.spec.controls || 0),
    out = Array.from({ length: K }, () => new Int32Array(T));
  for (let begin = 0; begin < T; begin += size) {
    const left = Math.max(0, begin - around),
      codes = await piece(left, Math.min(T, begin + size + around));
    codes.forEach((row, k) => out[k].set(row.subarray(begin - left, begin - left + Math.min(size, T - begin)), begin));
  }
  return out;
}
