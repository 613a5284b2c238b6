// Reads golden.json and prints, as JSON, what the page's engine makes of it: `node golden.mjs ENGINE_FOLDER golden.json`.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, path] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const { Draws, uniforms } = await load("random.js");
const { generate } = await load("sampler.js");
const { GuidedStepper } = await load("guidance.js");
const { OrderedStepper } = await load("order.js");
const { pack } = await load("packing.js");

class StandIn {
  constructor(spec) {
    this.spec = spec;
  }

  start(batch) {
    this.state = new Array(batch).fill(12345);
  }

  step(clips) {
    const { n_q, card, sizes = [] } = this.spec,
      out = new Float32Array(clips.length * n_q * card);
    clips.forEach((rows, b) => {
      for (let s = 0; s < rows[0].length; s++)
        for (const row of rows)
          this.state[b] = Math.imul((Math.imul(this.state[b], 31) + row[s] + 3) | 0, 2654435761);
      for (let i = 0; i < n_q * card; i++) {
        const bits = Math.imul((this.state[b] + Math.imul(i, 2246822519)) | 0, 3266489917) >>> 16;
        out[b * n_q * card + i] = i % card < (sizes[Math.floor(i / card)] ?? card) ? bits / 2 ** 13 : -Infinity;
      }
    });
    return out;
  }
}

const golden = JSON.parse(readFileSync(path));
const codes = {};
for (const { name, spec, indices, seed, frames, sampling, window, given, guide, order } of golden.cases) {
  let stepper = new StandIn(spec);
  if (guide) stepper = new GuidedStepper(stepper, guide.weight, spec, guide.codes);
  if (order) stepper = new OrderedStepper(stepper, order, spec);
  const clips = await generate(stepper, spec, indices.map(BigInt), frames, {
    seed: BigInt(seed),
    sampling,
    window,
    given: given && indices.map(() => given),
  });
  codes[name] = clips.map(pack);
}
const numbers = golden.uniforms.map(({ seed, index }) => Array.from(uniforms(BigInt(seed), BigInt(index), 9)));
const drawn = golden.draws.map(({ seed, index, jumps, bounds }) => {
  const draws = new Draws(BigInt(seed), BigInt(index), jumps);
  return {
    random: Array.from(draws.random(3)),
    integers: bounds.map((bound) => Array.from(draws.integers(bound, 5))),
    permutation: draws.permutation(Array.from({ length: 37 }, (_, i) => i)),
    large: String(draws.below63()),
  };
});
console.log(JSON.stringify({ codes, uniforms: numbers, draws: drawn }));
