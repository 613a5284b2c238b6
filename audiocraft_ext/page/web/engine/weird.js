// Chains of weird tools: the twin of audiocraft_ext/audio/weird/ (chain, text, tools) for chains as Python writes them
// into a recipe. Times are exact fractions until they become frames, as there.

import { Draws } from "./random.js";
import { UNKNOWN } from "./sampler.js";
import { unpack } from "./packing.js";

const BEATS = 4n;
const MOST_FRAMES = 2 ** 20;

// An exact number is [numerator, denominator], BigInts, the latter above 0.
const add = ([a, b], [c, d]) => [a * d + c * b, b * d];
const times = ([a, b], [c, d]) => [a * c, b * d];
const whole = (n) => [BigInt(n), 1n];
const less = ([a, b], [c, d]) => a * d < c * b;
const floor = ([a, b]) => Number(a >= 0n ? a / b : -((-a + b - 1n) / b));
const nearest = (x) => floor(add(x, [1n, 2n]));

/** A double as it is. */
function exact(x) {
  let d = 1n;
  for (; x % 1; d *= 2n) x *= 2;
  return [BigInt(x), d];
}

/** `"tool:name=value,...; ..."` as `[{tool, values: {name: text}}]`. */
export function parse(text) {
  return text
    .split(";")
    .filter((part) => part.trim())
    .map((part) => {
      const [, tool, rest = ""] = part.trim().match(/^(\w+)(?::(.*))?$/) || [null, part.trim()];
      if (!TOOLS[tool]) throw new Error(`the page has no weird tool ${tool}; it has ${Object.keys(TOOLS).join(", ")}`);
      return { tool, values: Object.fromEntries(rest.split(",").flatMap((one) => (one ? [one.split("=", 2)] : []))) };
    });
}

/** Play a chain on codes, K arrays [T]; K arrays [T'].
 *
 * @param context `{spec, seed, index, bpm, clips, resample}`: of the clip's codes; packed codes by name; and a function
 *   that fills in what is UNKNOWN, `(given, seed) => (a promise of) codes` */
export async function play(text, codes, context) {
  for (const [position, { tool, values }] of parse(text).entries()) {
    const place = new Place(context, values, position);
    try {
      codes = await TOOLS[tool](codes, place);
    } catch (error) {
      throw new Error(`${tool}: ${error.message}`);
    }
  }
  return codes;
}

class Place {
  constructor(context, values, position) {
    Object.assign(this, { context, values, position });
  }

  draws() {
    const { seed } = this.values;
    return new Draws(seed ?? this.context.seed, this.context.index, 1 + (seed === undefined ? this.position : 0));
  }

  /** The numbers of the codebooks that are meant. */
  books() {
    const K = this.context.spec.n_q,
      { keep, books = "0-" } = this.values;
    const read = (text) =>
      text.split("+").flatMap((part) => {
        const [, a, range, b] = part.match(/^(\d+)(-(\d*))?$/);
        const end = range === undefined ? Number(a) : b ? Number(b) : K - 1;
        return Array.from({ length: end - Number(a) + 1 }, (_, i) => Number(a) + i);
      });
    const all = Array.from({ length: K }, (_, k) => k);
    return keep === undefined ? read(books) : all.filter((k) => !read(keep).includes(k));
  }

  frames(text) {
    const { spec, bpm } = this.context;
    const [, sign, digits, over, decimals, unit] = text.match(/^([+-]?)(\d*)(?:\/(\d+)|\.(\d+))?(bar|b|s|f)$/);
    let value = [BigInt(digits + (decimals || "")), BigInt(over || 1) * 10n ** BigInt((decimals || "").length)];
    if (sign === "-") value = [-value[0], value[1]];
    if (unit === "f") return value;
    if (unit === "s") return times(value, exact(spec.frame_rate));
    if (!bpm) throw new Error("beats need a tempo, and this clip has none");
    const [n, d] = exact(bpm);
    return times(times(value, whole(60n * (unit === "bar" ? BEATS : 1n))), times([d, n], exact(spec.frame_rate)));
  }

  at(T, name = "at", usual = "0f") {
    const text = this.values[name] ?? usual,
      at = text.startsWith("-") ? add(this.frames(text), whole(T)) : this.frames(text);
    if (!(nearest(at) >= 0 && nearest(at) < T)) throw new Error(`${text} lies outside of the clip`);
    return at;
  }

  length(T, at, name = "len") {
    const text = this.values[name];
    if (text === undefined) return add(whole(T), [-at[0], at[1]]);
    const length = this.frames(text);
    if (less(length, whole(1))) throw new Error(`${text} is less than a frame`);
    if (name === "len" && nearest(add(at, length)) > T) throw new Error(`the clip is too short for ${text} there`);
    return length;
  }

  starts(T, at, taken) {
    const out = [at];
    if (this.values.every === undefined) return out;
    const every = this.length(T, at, "every");
    if (less(every, taken)) throw new Error("what is repeated is longer than the time between");
    for (let next = add(at, every); nearest(next) < T; next = add(next, every)) out.push(next);
    return out;
  }

  spans(T) {
    const at = this.at(T),
      length = this.length(T, at);
    return this.starts(T, at, length).map((a) => [nearest(a), Math.min(T, nearest(add(a, length)))]);
  }

  other() {
    const packed = this.context.clips?.[this.values.with];
    if (!packed) throw new Error(`the other clip, ${this.values.with}, is not there`);
    return unpack(packed);
  }

  /** Have what is inside of the books and spans sampled, with a seed of the link's own. */
  async sampled(codes) {
    const given = each(codes, this.books(), this.spans(codes[0].length), (part) => part.fill(UNKNOWN));
    if (!given.some((row) => row.includes(UNKNOWN))) return given;
    return this.context.resample(given, this.draws().below63());
  }
}

/** A copy in which `change(part, k, begin)` was done to, or gave another of, each part in the books and spans. */
function each(codes, books, spans, change) {
  const out = codes.map((row) => row.slice());
  for (const k of books)
    for (const [a, b] of spans) out[k].set(change(out[k].slice(a, b), k, a), a);
  return out;
}

const span = (codes, place, change) => each(codes, place.books(), place.spans(codes[0].length), change);

const TOOLS = {
  swap(codes, place) {
    const other = place.other(),
      T = Math.min(codes[0].length, other[0].length);
    return each(codes, place.books(), place.spans(T), (part, k, a) => other[k].slice(a, a + part.length));
  },
  shift(codes, place) {
    const by = nearest(place.frames(place.values.by));
    return span(codes, place, (part) => {
      const n = part.length;
      return part.map((_, i) => part[(((i - by) % n) + n) % n]);
    });
  },
  recode(codes, place) {
    const { card } = place.context.spec,
      more = ((Number(place.values.add) % card) + card) % card;
    return span(codes, place, (part) => part.map((code) => (code + more) % card));
  },
  mutate(codes, place) {
    const K = codes.length,
      T = codes[0].length,
      draws = place.draws(),
      chance = draws.random(T * K),
      any = place.values.pick === "any",
      drawn = draws.integers(any ? place.context.spec.card : T, T * K),
      share = Number(place.values.share);
    return span(codes, place, (part, k, a) =>
      part.map((code, i) => {
        const at = (a + i) * K + k;
        if (!(chance[at] < share)) return code;
        return any ? drawn[at] : codes[k][drawn[at]];
      }),
    );
  },
  reverse: (codes, place) => span(codes, place, (part) => part.reverse()),
  stutter(codes, place) {
    const T = codes[0].length,
      n = Number(place.values.times ?? 4),
      at = place.at(T),
      length = place.length(T, at);
    for (const start of place.starts(T, at, times(length, whole(n)))) {
      if (nearest(add(start, length)) > T) break;
      const before = codes,
        from = nearest(start);
      codes = codes.map((row) => row.slice());
      for (let i = 1; i < n; i++) {
        const a = nearest(add(start, times(length, whole(i)))),
          b = Math.min(T, nearest(add(start, times(length, whole(i + 1)))));
        if (a >= T) break;
        for (const k of place.books()) codes[k].set(before[k].subarray(from, from + b - a), a);
      }
    }
    return codes;
  },
  repeat(codes, place) {
    const T = codes[0].length,
      at = place.at(T),
      length = place.length(T, at),
      n = Number(place.values.times ?? 2),
      start = nearest(at);
    const cuts = Array.from({ length: n }, (_, i) => nearest(add(at, times(length, whole(i + 1)))));
    if (T + cuts[n - 1] - cuts[0] > MOST_FRAMES) throw new Error("the clip would be hours long");
    const order = [];
    for (let t = 0; t < cuts[0]; t++) order.push(t);
    for (let i = 1; i < n; i++) for (let t = 0; t < cuts[i] - cuts[i - 1]; t++) order.push(Math.min(start + t, T - 1));
    for (let t = cuts[0]; t < T; t++) order.push(t);
    return codes.map((row) => Int32Array.from(order, (t) => row[t]));
  },
  splice(codes, place) {
    const other = place.other(),
      at = place.at(codes[0].length),
      from = place.at(other[0].length, "from", place.values.at);
    return codes.map((row, k) =>
      Int32Array.from([...row.subarray(0, nearest(at)), ...other[k].subarray(nearest(from))]),
    );
  },
  reroll: (codes, place) => place.sampled(codes),
  infill: (codes, place) => place.sampled(codes),
};
