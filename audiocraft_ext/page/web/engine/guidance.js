// Classifier-free guidance as a stepper around a stepper: the twin of audiocraft_ext/engine/guidance.py.

export class GuidedStepper {
  /** `weight` 1 is the model by itself; `nullPrompt` is K arrays [P]. The twins' controls are unknown. */
  constructor(stepper, weight, spec, nullPrompt = []) {
    this.stepper = stepper;
    this.weight = Math.fround(weight);
    this.nulls = nullPrompt.flatMap((row, k) => Array.from(row, (code, p) => [k, spec.delays[k] + 1 + p, code]));
    this.last = Math.max(0, ...this.nulls.map(([, step]) => step));
    this.controls = [spec.n_q - (spec.controls || 0), spec.card];
  }

  start(batch, capacity) {
    this.length = 0;
    this.stepper.start(2 * batch, capacity);
  }

  async step(clips) {
    const S = clips[0][0].length,
      from = this.length;
    const [first, special] = this.controls;
    const twins = clips.map((rows) =>
      rows.map((row, k) => (k < first ? row.slice() : row.map((code) => (code === special ? special : 0)))),
    );
    for (const [k, step, code] of from <= this.last ? this.nulls : [])
      if (from <= step && step < from + S) for (const twin of twins) twin[k][step - from] = code;
    this.length += S;
    const both = await this.stepper.step([...clips, ...twins]);
    const half = both.length / 2,
      out = new Float32Array(half),
      f = Math.fround;
    for (let i = 0; i < half; i++) {
      const free = both[half + i];
      out[i] = Number.isFinite(free) ? free + f(this.weight * f(both[i] - free)) : -Infinity;
    }
    return out;
  }
}
