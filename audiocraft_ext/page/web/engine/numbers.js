// Arithmetic as numpy and Python do it, where JavaScript's own differs.

const view = new DataView(new ArrayBuffer(8));

/** The nearest whole number, halves to the even one: Python's `round`. */
export function rint(x) {
  const low = Math.floor(x),
    rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/** The next number towards 0, of a float64 above 0. */
export function below(x) {
  if (!(x > 0)) return x;
  view.setFloat64(0, x);
  view.setBigUint64(0, view.getBigUint64(0) - 1n);
  return view.getFloat64(0);
}

/** The sum of `n` values from `start` on in numpy's order (pairwise, eight at a time), each addition rounded by
 * `round`: `Math.fround` of float32. */
export function pairwise(values, start, n, round = Math.fround) {
  if (n < 8) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum = round(sum + values[start + i]);
    return sum;
  }
  if (n > 128) {
    const half = (n >> 1) - ((n >> 1) % 8);
    return round(pairwise(values, start, half, round) + pairwise(values, start + half, n - half, round));
  }
  const r = Array.from(values.subarray(start, start + 8));
  let i = 8;
  for (; i < n - (n % 8); i += 8) for (let j = 0; j < 8; j++) r[j] = round(r[j] + values[start + i + j]);
  let sum = round(round(round(r[0] + r[1]) + round(r[2] + r[3])) + round(round(r[4] + r[5]) + round(r[6] + r[7])));
  for (; i < n; i++) sum = round(sum + values[start + i]);
  return sum;
}

/** Where `value` belongs in ascending `edges`, behind those equal to it: `np.searchsorted(..., side="right")`. */
export const level = (value, edges) => search(edges, (edge) => edge <= value);

/** How many of ascending `edges` are less than `value`: `np.searchsorted`. */
export const fewer = (value, edges) => search(edges, (edge) => edge < value);

/** How many items from the first on are `before` a place; none is behind it. */
function search(items, before) {
  let low = 0,
    high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (before(items[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Rounded to so many places as Python does it: of two that are as near the even one. */
export const rounded = (x, places) =>
  Number.isInteger(2 ** (places + 1) * x) ? rint(10 ** places * x) / 10 ** places : Number(x.toFixed(places));
