// The LM's step in onnxruntime-web: the twin of audiocraft_ext/engine/onnx.py. The cache grows with the clip, for
// each step copies it in and out of WebAssembly's memory.

const FEW = 4;
const same = (a, b) => a.every((row, k) => row.every((code, s) => code === b[k][s]));

export class OnnxStepper {
  /** `ort` is onnxruntime-web, `lm` the sizes in model.json. */
  constructor(ort, session, lm) {
    const heads = lm.kv_heads ?? lm.num_heads,
      depth = lm.dim / lm.num_heads;
    Object.assign(this, { ort, session, lm, heads, depth });
    this.pasts = session.inputNames.filter((name) => name.startsWith("past_"));
  }

  start(batch) {
    this.length = 0;
    this.rows = Array.from({ length: batch }, () => null); // caches of clips that were read one by one
    this.together = null; // the cache of all
    this.batch = batch;
  }

  /** See `stream` in sampler.js. Many steps at once are read clip by clip, a few one by one, as in Python. */
  async step(clips) {
    const S = clips[0][0].length,
      size = this.lm.n_q * this.lm.card;
    let logits;
    if (S > FEW) {
      const all = await this.logits(clips);
      return Float32Array.from(all.flatMap((rows) => Array.from(rows.subarray(-size))));
    }
    for (let s = 0; s < S; s++)
      logits = await this.single(clips.map((rows) => rows.map((row) => row.subarray(s, s + 1))));
    return logits;
  }

  /** The logits of all steps, read clip by clip: for each clip `Float32Array [S * K * card]`. Clips that are the same
   * so far are read once. */
  async logits(clips) {
    const caches = clips.map((_, b) => (this.together ? this.part(this.together, b) : this.rows[b])),
      out = [];
    for (const [b, rows] of clips.entries()) {
      const twin = out.findIndex((_, a) => caches[a] === caches[b] && same(clips[a], rows));
      const result = twin < 0 ? await this.call([rows], caches[b]) : null;
      this.rows[b] = result ? result.cache : this.rows[twin];
      out.push(result ? result.logits : out[twin]);
    }
    this.together = null;
    this.length += clips[0][0].length;
    return out;
  }

  async single(clips) {
    if (!this.together && this.length) this.together = this.stacked();
    const { logits, cache } = await this.call(clips, this.together);
    this.together = cache;
    this.length += 1;
    return logits;
  }

  async call(clips, cache) {
    const { ort, lm, length, pasts } = this,
      B = clips.length,
      S = clips[0][0].length;
    const feeds = {
      codes: new ort.Tensor(
        "int64",
        BigInt64Array.from(clips.flatMap((rows) => rows.flatMap((row) => Array.from(row, BigInt)))),
        [B, lm.n_q, S],
      ),
      positions: new ort.Tensor(
        "int64",
        BigInt64Array.from({ length: S }, (_, i) => BigInt(length + i)),
        [S],
      ),
      seqlens_k: new ort.Tensor("int32", new Int32Array(B).fill(length + S - 1), [B]),
      total_sequence_length: new ort.Tensor("int32", Int32Array.of(length + S), [1]),
    };
    for (const name of pasts)
      feeds[name] = cache
        ? cache[name]
        : new ort.Tensor("float32", new Float32Array(0), [B, this.heads, 0, this.depth]);
    const out = await this.session.run(feeds);
    return {
      logits: out.logits.data,
      cache: Object.fromEntries(pasts.map((name) => [name, out[name.replace("past", "present")]])),
    };
  }

  /** The caches of clips that were read one by one, as one. */
  stacked() {
    return Object.fromEntries(
      this.pasts.map((name) => {
        const parts = this.rows.map((row) => row[name]),
          size = parts[0].data.length;
        const data = new Float32Array(size * parts.length);
        parts.forEach((part, b) => data.set(part.data, b * size));
        return [name, new this.ort.Tensor("float32", data, [parts.length, ...parts[0].dims.slice(1)])];
      }),
    );
  }

  part(cache, b) {
    return Object.fromEntries(
      this.pasts.map((name) => {
        const { data, dims } = cache[name],
          size = data.length / this.batch;
        return [name, new this.ort.Tensor("float32", data.slice(b * size, (b + 1) * size), [1, ...dims.slice(1)])];
      }),
    );
  }
}
