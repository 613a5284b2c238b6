// Random numbers: numpy's Philox 4x64-10 (random123, https://doi.org/10.1145/2063384.2063405), bit for bit.

const MASK = (1n << 64n) - 1n;
const MULTIPLY = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const WEYL = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const ROUNDS = 10;
export const LARGEST_SEED = MASK;

/** The block of four 64-bit numbers that the counter `count` has under the key `[seed, index]`. */
function block(count, seed, index) {
  let [a, b, c, d] = [0n, 64n, 128n, 192n].map((shift) => (count >> shift) & MASK);
  let [k, l] = [seed, index];
  for (let round = 0; round < ROUNDS; round++) {
    const p = MULTIPLY[0] * a,
      q = MULTIPLY[1] * c;
    [a, b, c, d] = [(q >> 64n) ^ b ^ k, q & MASK, (p >> 64n) ^ d ^ l, p & MASK];
    k = (k + WEYL[0]) & MASK;
    l = (l + WEYL[1]) & MASK;
  }
  return [a, b, c, d];
}

/** A clip's first `n` numbers in [0, 1), `Float64Array [n]`: those of `clip_rng(seed, index).random(n)` in Python.
 * `seed` and `index` are BigInts, or whole numbers, from 0 to 2**64 - 1. */
export function uniforms(seed, index, n) {
  const key = [BigInt(seed), BigInt(index)];
  if (key.some((part) => part < 0n || part > MASK)) throw new Error(`a seed is 0 to 2**64 - 1, got ${seed}`);
  const out = new Float64Array(n);
  for (let at = 0, count = 1n; at < n; at += 4, count++) {
    block(count, ...key).forEach((word, i) => {
      if (at + i < n) out[at + i] = Number(word >> 11n) * 2 ** -53;
    });
  }
  return out;
}

/** Numbers as numpy's Generator draws them from a clip's Philox, `jumps` times 2**128 blocks further on. */
export class Draws {
  constructor(seed, index, jumps) {
    Object.assign(this, { key: [BigInt(seed), BigInt(index)], count: BigInt(jumps) << 128n, words: [], halves: [] });
  }

  word() {
    if (!this.words.length) this.words = block(++this.count, ...this.key);
    return this.words.shift();
  }

  /** `random(n)`, in [0, 1). */
  random(n) {
    return Float64Array.from({ length: n }, () => Number(this.word() >> 11n) * 2 ** -53);
  }

  /** `integers(bound, size=n)` of a bound below 2**32 (Lemire, https://doi.org/10.1145/3230636). */
  integers(bound, n) {
    const out = new Float64Array(n),
      range = BigInt(bound),
      least = ((1n << 32n) - range) % range;
    if (bound === 1) return out;
    for (let i = 0; i < n; i++) {
      let product;
      do product = this.half() * range;
      while ((product & 0xffffffffn) < least);
      out[i] = Number(product >> 32n);
    }
    return out;
  }

  /** `permutation(values)`, which draws by rejection: as many bits as the largest index has. */
  permutation(values) {
    const out = [...values];
    for (let i = out.length - 1; i > 0; i--) {
      const mask = 2 ** (32 - Math.clz32(i)) - 1;
      let j;
      do j = (Number(this.half()) & mask) >>> 0;
      while (j > i);
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }

  /** `integers(2**63)`. */
  below63() {
    return this.word() >> 1n;
  }

  half() {
    if (!this.halves.length) {
      const word = this.word();
      this.halves = [word & 0xffffffffn, word >> 32n];
    }
    return this.halves.shift();
  }
}
