// How a piece is sampled, from bar line to bar line: the twin of audiocraft_ext/notes/play/arrange.py.

import { familyOf } from "./describe.js";
import { GuidedStepper } from "./guidance.js";
import {
  barsOf,
  cut,
  DIVIDE,
  empty,
  FIRST,
  frame,
  INSTRUMENT,
  join,
  LINE,
  ordered,
  PITCH,
  POSITION,
  upToBar,
  without,
} from "./multitrack.js";
import { OrderedStepper } from "./order.js";
import { stream, UNKNOWN } from "./sampler.js";
import { score } from "./score.js";
import { promptCodes } from "./words.js";

const MOST_NOTES = 96; // a bar: then the piece ends with empty bars
const APART = 1n << 40n; // between the numbers of one piece's candidates
const FACTS = ["tempo", "meter"];
const ORDER = { streams: [POSITION, INSTRUMENT, PITCH], first: FIRST, never: [DIVIDE] };
const TRIES = 4; // of a part that does not play at all
const HANDS = 6; // notes that a part plays at a place, at most
const SOLO = ["bass", "reed", "pipe", "lead"]; // families that play one

/** Whoever asked for a clip does not want it any more. */
export class Stopped extends Error {}

export class Arranger {
  /** `source` are codes of whole bars, or null; `stop()`, or what it promises, is asked before each step; `share(done)`
   * takes how much there is, 0 to 1. */
  constructor({ info, stepper }, recipe, source, stop, share) {
    const { prompts } = info.codec;
    Object.assign(this, { info, stepper, recipe, source, stop, share });
    this.prompt = prompts ? promptCodes(prompts, recipe.said || {}) : empty();
    this.guided = stepper;
    if (recipe.guidance !== undefined && prompts) {
      const facts = Object.fromEntries(Object.entries(recipe.said || {}).filter(([name]) => FACTS.includes(name)));
      this.guided = new GuidedStepper(stepper, recipe.guidance, info.spec, promptCodes(prompts, facts));
    }
  }

  /** The codes, 5 arrays [T], of each number, without the prompt. Throws `Stopped`. */
  async batch(numbers) {
    const { edit } = this.recipe;
    if (!edit || edit === "continue") return this.new(numbers);
    const made = [];
    for (const number of numbers)
      made.push(await (edit === "infill" ? this.infilled(number) : this.withParts(number)));
    return made;
  }

  /** New pieces, or that go on from the source: until all have enough bar lines. */
  async new(numbers) {
    const { bars } = this.recipe,
      given = join(this.prompt, this.source || empty(), frame(LINE)),
      P = this.prompt[0].length;
    const codes = numbers.map(() => given.map(() => [])),
      linesOf = (clip) => clip[POSITION].filter((position, t) => t >= P && position === LINE).length;
    for await (const piece of this.stream(numbers, given, given[0].length + bars * MOST_NOTES)) {
      piece.forEach((clip, b) => clip.forEach((row, k) => codes[b][k].push(...row)));
      const lines = codes.map(linesOf);
      this.share(lines.reduce((sum, n) => sum + Math.min(n / (bars + 1), 1), 0) / lines.length);
      if (Math.min(...lines) > bars) break;
    }
    return codes.map((clip) =>
      upToBar(
        clip.map((row) => Int32Array.from(row.slice(P))),
        bars,
      ),
    );
  }

  /** The source, or empty bars, with the parts of the recipe, made one after the other, each to those before it; one
   * that rests in all bars is made again, a few times. */
  async withParts(number) {
    const { bars, parts, edit } = this.recipe;
    const empties = () => join(...Array.from({ length: bars }, () => frame(LINE)));
    let codes = edit === "build" ? empties() : without(this.source, (one) => parts.includes(one));
    for (const [i, part] of parts.entries()) {
      const share = (done) => this.share((i + done) / parts.length),
        plays = (made) => made[POSITION].some((position, t) => position >= FIRST && made[INSTRUMENT][t] === part);
      let made;
      for (let take = i * TRIES; take < (i + 1) * TRIES && !(made && plays(made)); take++)
        made = await this.withPart(number + BigInt(take) * APART, codes, part, share);
      codes = ordered(made);
    }
    return codes;
  }

  /** Codes with one part more, bar by bar, each divided into the parts that are there and this one. */
  async withPart(number, codes, part, share) {
    const bars = barsOf(codes),
      divide = frame(DIVIDE, part),
      done = [];
    let soFar = this.prompt;
    for (const [i, bar] of bars.entries()) {
      soFar = join(soFar, bar, divide);
      const made = await this.bar(number, soFar, part);
      soFar = join(soFar, made);
      done.push(bar, made);
      share((i + 1) / bars.length);
    }
    return join(...done);
  }

  /** The source with the bars of the span made anew; of several takes the one that makes what follows likeliest. */
  async infilled(number) {
    const { span, takes = 1 } = this.recipe,
      bars = barsOf(this.source),
      { context } = this.info;
    const before = join(empty(), ...bars.slice(0, span[0])),
      after = join(empty(), ...bars.slice(span[1])),
      found = [],
      likely = [];
    for (let take = 0; take < takes; take++) {
      let codes = join(this.prompt, before);
      for (let bar = span[0]; bar < span[1]; bar++) {
        codes = join(codes, frame(LINE));
        codes = join(codes, await this.bar(number + BigInt(take) * APART, codes, null));
      }
      found.push(cut(codes, this.prompt[0].length));
      if (takes > 1 && after[0].length) {
        const heard = join(codes, cut(after, 0, Math.floor(context / 2))),
          early = Math.max(0, heard[0].length - context);
        const first = Math.max(0, codes[0].length - early);
        likely.push((await score(this.stepper, this.info.spec, [cut(heard, early)], first))[0]);
      }
      this.share((take + 1) / takes);
    }
    return join(found[likely.length ? likely.indexOf(Math.max(...likely)) : 0], after);
  }

  /** The notes that follow what is given, up to a bar line; of one part, or of any (null). */
  async bar(number, given, part) {
    const T = given[0].length,
      room = given.map(() => new Int32Array(MOST_NOTES).fill(UNKNOWN));
    let order = ORDER;
    if (part !== null) {
      room[INSTRUMENT].fill(part);
      order = { ...ORDER, most: SOLO.includes(familyOf(this.info, part)) ? 1 : HANDS };
    }
    let made = empty(),
      at = 0;
    for await (const [piece] of this.stream([number], join(given, room), T + MOST_NOTES, order)) {
      made = join(made, cut(piece, Math.max(0, T - at)));
      at += piece[0].length;
      const end = made[POSITION].findIndex((position) => position < FIRST);
      if (end >= 0) return cut(made, 0, end);
    }
    return made;
  }

  async *stream(numbers, given, frames, order = ORDER) {
    const { seed, sampling } = this.recipe,
      how = { seed, sampling, given: numbers.map(() => given), window: this.info.context };
    let stopped = false;
    const stop = async () => (stopped = await this.stop());
    const stepper = new OrderedStepper(this.guided, order, this.info.spec);
    yield* stream(stepper, this.info.spec, numbers, frames, { ...how, stop });
    if (stopped) throw new Stopped();
  }
}
