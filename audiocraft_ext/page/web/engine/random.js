// Random numbers: numpy's Philox 4x64-10 (random123, https://doi.org/10.1145/2063384.2063405), bit for bit.

const MASK = (1n << 64n) - 1n;
const MULTIPLY = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const WEYL = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const ROUNDS = 10;
export const LARGEST_SEED = MASK;

/** The block of four 64-bit numbers that the counter `count` has under the key `[seed, index]`. */
function block(count, seed, index) {
  let [a, b, c, d] = [count & MASK, (count >> 64n) & MASK, 0n, 0n];
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
