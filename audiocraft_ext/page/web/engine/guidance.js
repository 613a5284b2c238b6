// Classifier-free guidance as a stepper around a stepper: the twin of audiocraft_ext/engine/guidance.py.

export class GuidedStepper {
  /** `nullPrompt` is K arrays [P]; `weight` 1 is the model by itself. */
  constructor(stepper, nullPrompt, weight, spec) {
    this.stepper = stepper;
    this.weight = Math.fround(weight);
    this.nulls = nullPrompt.flatMap((row, k) => Array.from(row, (code, p) => [k, spec.delays[k] + 1 + p, code]));
    this.last = Math.max(0, ...this.nulls.map(([, step]) => step));
  }

  start(batch, capacity) {
    this.length = 0;
    this.stepper.start(2 * batch, capacity);
  }

  async step(clips) {
    const S = clips[0][0].length,
      from = this.length;
    let twins = clips;
    if (from <= this.last) {
      twins = clips.map((rows) => rows.map((row) => row.slice()));
      for (const [k, step, code] of this.nulls)
        if (from <= step && step < from + S) for (const twin of twins) twin[k][step - from] = code;
    }
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
