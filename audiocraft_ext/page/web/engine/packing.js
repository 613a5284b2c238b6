// Codes as text, JSON as Python writes it, hashes: the twins of audiocraft_ext/core/packing.py and hashlib.sha256.

/** K arrays [T] as text: `K:` and base64 of little-endian uint16, frame by frame. */
export function pack(codes) {
  const [K, T] = [codes.length, codes[0].length],
    bytes = new Uint8Array(2 * K * T);
  for (let t = 0, at = 0; t < T; t++)
    for (let k = 0; k < K; k++) {
      bytes[at++] = codes[k][t] & 255;
      bytes[at++] = codes[k][t] >> 8;
    }
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return `${K}:${btoa(text)}`;
}

export function unpack(text) {
  const [n, data] = text.split(":"),
    K = Number(n),
    bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const T = bytes.length / 2 / K;
  return Array.from({ length: K }, (_, k) =>
    Int32Array.from({ length: T }, (_, t) => {
      const at = 2 * (t * K + k);
      return bytes[at] | (bytes[at + 1] << 8);
    }),
  );
}

/** Bytes whose even places come first, then the odd ones, in their order again: the inverse of `in_planes` in build.py. */
export function fromPlanes(data) {
  const out = new Uint8Array(data.length),
    half = (data.length + 1) >> 1;
  for (let i = 0; i < half; i++) out[2 * i] = data[i];
  for (let i = half; i < data.length; i++) out[2 * (i - half) + 1] = data[i];
  return out;
}

/** A value as `json.dumps(value, sort_keys=sorted, indent=indent)`. Whole numbers under the keys `floats` get a `.0`,
 * as Python's floats have it; BigInts are whole numbers. `ascii` as `ensure_ascii`. */
export function dumps(value, { sorted = false, floats = new Set(), indent = 0, ascii = true } = {}) {
  const quoted = ascii ? escaped : JSON.stringify;
  const line = (depth) => (indent ? "\n" + " ".repeat(indent * depth) : "");
  const comma = (depth) => (indent ? "," + line(depth) : ", ");
  function text(x, float, depth) {
    if (x === null || typeof x === "boolean" || typeof x === "bigint") return String(x);
    if (typeof x === "number") return number(x, float);
    if (typeof x === "string") return quoted(x);
    const parts = Array.isArray(x) ? x.map((one) => text(one, float, depth + 1)) : entries(x, depth);
    const [open, end] = Array.isArray(x) ? "[]" : "{}";
    return parts.length ? open + line(depth + 1) + parts.join(comma(depth + 1)) + line(depth) + end : open + end;
  }
  function entries(x, depth) {
    const keys = Object.keys(x).filter((key) => x[key] !== undefined);
    return (sorted ? keys.sort() : keys).map((key) => `${quoted(key)}: ${text(x[key], floats.has(key), depth + 1)}`);
  }
  return text(value, false, 0);
}

function number(x, float) {
  if (Number.isInteger(x)) return Math.abs(x) < 1e16 ? x + (float ? ".0" : "") : BigInt(x) + (float ? ".0" : "");
  return String(x).replace(/e-(\d)$/, "e-0$1");
}

const escaped = (text) =>
  JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

const primes = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
const fraction = (x) => Math.floor((x - Math.floor(x)) * 2 ** 32) | 0;
const ROUND = primes.map((p) => fraction(Math.cbrt(p))),
  START = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
const turn = (x, n) => (x >>> n) | (x << (32 - n));

/** 64 hex digits of bytes or text (FIPS 180-4). The browser's own is there over HTTPS and localhost only. */
export function sha256(data) {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const whole = new Uint8Array(((bytes.length + 72) >> 6) << 6),
    view = new DataView(whole.buffer);
  whole.set(bytes);
  whole[bytes.length] = 0x80;
  view.setBigUint64(whole.length - 8, BigInt(bytes.length) * 8n);
  const state = Int32Array.from(START),
    w = new Int32Array(64);
  for (let at = 0; at < whole.length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15],
        b = w[i - 2];
      w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const p = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i]) | 0;
      const q = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + p) | 0, c, b, a, (p + q) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((x, i) => {
      state[i] += x;
    });
  }
  return Array.from(state, (x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}
