// Codes of one clip to sound, piece by piece: the twin of audiocraft_ext/audio/codec/decoder.py.

import { joined } from "./sampler.js";

export class Decoder {
  /** `about` is what `front.onnx` says of itself: `{front, reach, piece, channels, state}`, the last its shape or null. */
  constructor(ort, front, back, about, K) {
    Object.assign(this, { ort, session: front, back, about, K });
    this.features = Array.from({ length: about.channels }, () => new Float32Array(0));
    this.codes = Array.from({ length: K }, () => new Int32Array(0));
    this.codesAt = this.featuresAt = this.done = 0;
    if (about.state)
      this.state = new ort.Tensor("float32", new Float32Array(about.state[0] * about.state[2]), [
        about.state[0],
        1,
        about.state[2],
      ]);
  }

  /** More codes, K arrays [t]; yields the sound that is certain by now, `Float32Array [n]`. */
  async *push(codes, last = false) {
    const { reach, front, piece } = this.about;
    this.codes = joined([this.codes, codes], this.K);
    const known = this.codesAt + this.codes[0].length;
    while (known >= this.done + piece + reach + front) yield this.sound(this.done + piece, known);
    if (last && known > this.done) yield this.sound(known, known);
  }

  async sound(end, known) {
    const { reach, channels } = this.about,
      at = this.featuresAt + this.features[0].length;
    const upto = Math.min(end + reach, known);
    if (upto > at) {
      const more = await this.run(at, upto, known),
        n = upto - at;
      this.features = this.features.map((row, c) => both(row, more.subarray(c * n, (c + 1) * n)));
    }
    const size = upto - this.featuresAt,
      flat = new Float32Array(channels * size);
    this.features.forEach((row, c) => flat.set(row.subarray(0, size), c * size));
    const begin = this.done - this.featuresAt,
      stop = end - this.featuresAt,
      before = Math.max(0, end - reach);
    this.features = this.features.map((row) => row.slice(before - this.featuresAt));
    this.featuresAt = before;
    this.done = end;
    const { wav } = await this.back.run({ features: new this.ort.Tensor("float32", flat, [1, channels, size]) });
    const hop = wav.data.length / size;
    return wav.data.slice(begin * hop, stop * hop);
  }

  /** Features of the frames from `at` to `upto`, [channels * (upto - at)]. */
  async run(at, upto, known) {
    const { ort, K } = this,
      { front } = this.about,
      sees = Math.min(upto + front, known);
    const tensor = (from, to) =>
      new ort.Tensor(
        "int64",
        BigInt64Array.from(this.codes.flatMap((row) => Array.from(row.subarray(from, to), BigInt))),
        [1, K, to - from],
      );
    let features;
    if (!this.state) {
      ({ features } = await this.session.run({ codes: tensor(at - this.codesAt, sees - this.codesAt) }));
    } else {
      const cut = new ort.Tensor("int64", BigInt64Array.of(BigInt(at - this.codesAt), BigInt(sees - upto)), [2]);
      const out = await this.session.run({ codes: tensor(0, sees - this.codesAt), cut, state: this.state });
      features = out.features;
      this.state = out.state_after;
    }
    const before = Math.max(0, upto - front);
    this.codes = this.codes.map((row) => row.slice(before - this.codesAt));
    this.codesAt = before;
    return features.data;
  }
}

function both(a, b) {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
