// Frames in order, by construction, as a stepper around a stepper: the twin of audiocraft_ext/engine/order.py.

export class OrderedStepper {
  /** `order` is `{streams, first, never, most}`; `most` may be missing. */
  constructor(stepper, order, spec) {
    const { streams } = order,
      { delays } = spec;
    const rising = streams.findIndex((k, i) => i > 0 && delays[k] <= delays[streams[i - 1]]);
    this.streams = rising < 0 ? streams : streams.slice(0, rising);
    Object.assign(this, { stepper, order, delays, special: spec.card, card: spec.card, K: spec.n_q });
    this.depth = Math.max(delays[this.streams.at(-1)] - delays[streams[0]] + 2, order.most || 0);
  }

  start(batch, capacity) {
    const row = () => new Int32Array(this.depth).fill(this.special);
    this.past = Array.from({ length: batch }, () => Array.from({ length: this.K }, row));
    this.stepper.start(batch, capacity);
  }

  async step(clips) {
    this.past.forEach((rows, b) =>
      rows.forEach((row, k) => {
        const read = clips[b][k].subarray(-this.depth);
        row.copyWithin(0, read.length);
        row.set(read, this.depth - read.length);
      }),
    );
    const logits = (await this.stepper.step(clips)).slice(),
      size = this.K * this.card;
    this.past.forEach((rows, b) => this.limit(rows, logits.subarray(b * size, (b + 1) * size)));
    return logits;
  }

  /** Take what is out of order out of the `logits` [K * card] of a clip's next step. */
  limit(past, logits) {
    const { streams, first, never, most } = this.order,
      place = streams[0];
    for (const code of never) logits[place * this.card + code] = -Infinity;
    this.streams.forEach((k, i) => {
      const row = logits.subarray(k * this.card, (k + 1) * this.card),
        before = past[k].at(-1),
        marks = past[place].at(this.delays[place] - this.delays[k] - 1) < first;
      const tied = this.streams.slice(0, i).every((j) => {
        const now = this.delays[j] - this.delays[k];
        return past[j].at(now) === past[j].at(now - 1);
      });
      if (before >= this.special || marks || !tied) return;
      const full = most > 0 && past[place].slice(-most).every((code) => code === before);
      const from = i ? 0 : first,
        least = before + (k === streams.at(-1) || (k === place && full));
      if (row.some((logit, code) => Number.isFinite(logit) && (code < from || code >= least))) row.fill(-Infinity, from, least);
    });
  }
}
