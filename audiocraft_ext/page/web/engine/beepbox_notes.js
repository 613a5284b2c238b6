// The patterns in a song's URL: the twin of the readers of songs/beepbox/patterns.py and bits.py, without bends and volumes.

import { CHORD, HITS, PITCHES } from "./voices.js";

export const CUT = "ends early: it was cut off, or is no song's";
const SHAPES = 10,
  RECENT = 8; // that are remembered
export const FIRST = [0, 7, 12, 19, 24, -5, -12], // pitches that are, before any note
  FIRST_NOISE = [4, 6, 7, 2, 3, 8, 0, 10];
const FAR = 12 * 7 * 2, // an interval that no song has
  VOLUME_BITS = 2;

/** Goes through bits of six a digit. */
export class Bits {
  constructor(digits) {
    Object.assign(this, { bits: digits.map((digit) => digit.toString(2).padStart(6, "0")).join(""), at: 0 });
  }

  /** A number of so many bits. */
  read(bits) {
    const end = this.at + bits;
    if (end > this.bits.length) throw new Error(CUT);
    const found = bits ? parseInt(this.bits.slice(this.at, end), 2) : 0;
    this.at = end;
    return found;
  }

  /** A number from `least` on: a 1 for each further bit, a 0, the bits. */
  tail(least, bits) {
    let value = least;
    for (; this.read(1); bits++) {
      value += 2 ** bits;
      if (bits >= 32) throw new Error("has a number that no song has");
    }
    return value + this.read(bits);
  }

  /** A sign and a number from 1 on. */
  interval() {
    return this.read(1) ? -this.tail(1, 3) : this.tail(1, 3);
  }
}

/** Reads the patterns of one channel, in bars of `parts`; versions before 7 count in steps of `step` parts. */
export class PatternReader {
  constructor(bits, { version, parts, step }, noise, octave) {
    const root = noise ? 0 : 12 * octave;
    Object.assign(this, { bits, version, parts, step, values: noise ? HITS : PITCHES, shapes: [] });
    this.last = noise ? FIRST_NOISE[0] : root;
    this.recent = (noise ? FIRST_NOISE : FIRST).map((pitch) => root + pitch);
  }

  /** The next one; what no channel can play is left out of it. */
  pattern() {
    const { bits, shapes } = this,
      notes = [];
    if (this.version >= 3 && !bits.read(1)) return notes;
    for (let at = 0; at < this.parts; ) {
      const old = bits.read(1);
      if (!old && !bits.read(1)) {
        at += this.duration();
        continue;
      }
      const shape = old ? this.oldShape() : this.newShape();
      shapes.unshift(shape);
      shapes.length = Math.min(shapes.length, SHAPES);
      const note = this.note(shape, at);
      at = note.end;
      if (at > this.parts) throw new Error(`has a note that ends at part ${at} of a bar of ${this.parts}`);
      if (note.pitches.length) notes.push(note);
    }
    return notes;
  }

  duration() {
    return this.version >= 7 ? this.bits.tail(1, 3) : this.bits.tail(1, 2) * this.step;
  }

  oldShape() {
    const index = this.bits.tail(0, 0);
    if (index >= this.shapes.length)
      throw new Error(`has a note like its ${index + 1}th last, where there are ${this.shapes.length}`);
    return this.shapes.splice(index, 1)[0];
  }

  /** How many pitches, how often it bends, how long it is. */
  newShape() {
    const { bits } = this;
    let pitches = 1,
      bends = 0,
      time = 0;
    while (pitches < CHORD && bits.read(1)) pitches++;
    const count = bits.tail(1, 0);
    bits.read(VOLUME_BITS);
    if (count > this.parts) throw new Error(`has a note of ${count} points in a bar of ${this.parts} parts`);
    for (let i = 0; i < count; i++) {
      bends += bits.read(1);
      time += this.duration();
      bits.read(VOLUME_BITS);
    }
    return { pitches, bends, time };
  }

  note(shape, start) {
    const { bits, recent } = this,
      found = [];
    for (let i = 0; i < shape.pitches + shape.bends; i++) {
      const near = bits.read(1),
        index = near ? bits.read(3) : 0;
      if (index >= recent.length) throw new Error(`has a note like its ${index + 1}th last, where there are ${recent.length}`);
      const pitch = near ? recent[index] : this.far(bits.interval());
      if (recent.includes(pitch)) recent.splice(recent.indexOf(pitch), 1);
      recent.unshift(pitch);
      recent.length = Math.min(recent.length, RECENT);
      found.push(pitch);
      this.last = i === shape.pitches - 1 ? found[0] : pitch;
    }
    const continues = this.version >= 9 && start === 0 && Boolean(bits.read(1)),
      pitches = [...new Set(found.slice(0, shape.pitches))].filter((pitch) => pitch >= 0 && pitch < this.values);
    return { start, end: start + shape.time, pitches, continues };
  }

  /** The pitch that is so far from the last one, in pitches that are not among the recent ones. */
  far(distance) {
    if (!distance || Math.abs(distance) > FAR) throw new Error(`has an interval of ${distance} semitones, which no song has`);
    const step = Math.sign(distance);
    let pitch = this.last;
    for (let left = Math.abs(distance); left; left--) {
      pitch += step;
      while (this.recent.includes(pitch)) pitch += step;
    }
    return pitch;
  }
}
