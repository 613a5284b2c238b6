// Songs as BeepBox's JSON and URL of version 9: the twins of songs/beepbox/as_json.py, url_write.py, patterns.py, bits.py
// and sounds.py.

import { FIRST, FIRST_NOISE } from "./beepbox_notes.js";
import { dumps } from "./packing.js";
import { KEYS, middleOf, PARTS, RHYTHMS } from "./voices.js";

export const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
const SITE = "https://www.beepbox.co/#",
  VERSION = 9,
  SCALE = 11, // "expert", the last
  LOUDEST = 3;
const LOW = 30,
  HIGH = 48; // a channel whose middle is below the first is a bass, from the second on a lead
const [BASS, MIDDLE, LEAD, NOISE] = [
  { wave: "triangle", number: 1, program: 38 },
  { wave: "rounded", number: 0, program: 81 },
  { wave: "square", number: 2, program: 80 },
  { wave: "retro", number: 0, program: 118 },
];
const SHAPES = 10,
  RECENT = 8; // that are remembered

/** The wave and the program of a channel. */
export function soundOf({ noise, patterns }) {
  if (noise) return NOISE;
  const middle = middleOf(patterns, HIGH);
  return middle < LOW ? BASS : middle < HIGH ? MIDDLE : LEAD;
}

/** The JSON that the editor imports. */
export function songJson({ channels, beats, rhythm, bpm, key, bars }) {
  const tick = (part) => (part * rhythm) / PARTS;
  const point = (part) => ({ tick: tick(part), pitchBend: 0, volume: 100 });
  const note = ({ start, end, pitches, continues }) => ({
    pitches,
    points: [point(start), point(end)],
    ...(start ? {} : { continuesLastPattern: continues }),
  });
  const plain = (channel) => ({
    volume: 100,
    eqFilter: [],
    effects: [],
    fadeInSeconds: 0,
    fadeOutTicks: -1,
    wave: soundOf(channel).wave,
    envelopes: [],
  });
  const instrument = (channel) =>
    channel.noise ? { type: "noise", ...plain(channel) } : { type: "chip", ...plain(channel), unison: "none" };
  return (
    dumps(
      {
        format: "BeepBox",
        version: VERSION,
        scale: "expert",
        key: KEYS[key],
        introBars: 0,
        loopBars: bars,
        beatsPerBar: beats,
        ticksPerBeat: rhythm,
        beatsPerMinute: bpm,
        layeredInstruments: false,
        patternInstruments: false,
        channels: channels.map((channel) => ({
          type: channel.noise ? "drum" : "pitch",
          instruments: [instrument(channel)],
          patterns: channel.patterns.map((pattern) => ({ notes: pattern.map(note) })),
          sequence: channel.sequence,
          ...(channel.noise ? {} : { octaveScrollBar: channel.octave - 1 }),
        })),
      },
      { ascii: false },
    ) + "\n"
  );
}

/** A URL that beepbox.co opens. */
export function songUrl({ channels, pitched, beats, rhythm, bpm, key, bars }) {
  const two = (value) => DIGITS[value >> 6] + DIGITS[value & 63],
    patterns = channels[0].patterns.length;
  const head = [
    DIGITS[VERSION],
    "n",
    DIGITS[pitched],
    DIGITS[channels.length - pitched],
    `s${DIGITS[SCALE]}k${DIGITS[key]}l${two(0)}e${two(bars - 1)}t${two(bpm)}a${DIGITS[beats - 1]}g${two(bars - 1)}`,
    `j${two(patterns - 1)}r${DIGITS[RHYTHMS.indexOf(rhythm)]}i0o`,
    ...channels.filter(({ noise }) => !noise).map(({ octave }) => DIGITS[octave]),
    ...channels.map((channel) => {
      const wave = DIGITS[soundOf(channel).number];
      return channel.noise ? `T2v0u00f0q00d04w${wave}E0` : `T0v0u00f0q00d04w${wave}h0E0`;
    }),
  ];
  const sequence = new Bits(),
    width = patterns.toString(2).length;
  for (const channel of channels) for (const number of channel.sequence) sequence.write(width, number);
  const notes = new Patterns(beats * PARTS);
  channels.forEach((channel) => notes.channel(channel));
  const data = notes.out.digits();
  let size = "";
  for (let left = data.length; left; left >>= 6) size = DIGITS[left & 63] + size;
  return `${SITE}${head.join("")}b${sequence.digits()}p${DIGITS[size.length]}${size}${data}`;
}

class Bits {
  bits = "";

  write(bits, value) {
    if (bits) this.bits += value.toString(2).padStart(bits, "0");
  }

  /** A number from `least` on: a 1 for each further bit, a 0, the bits. */
  tail(least, bits, value) {
    for (value -= least; value >= 2 ** bits; bits++) {
      this.bits += "1";
      value -= 2 ** bits;
    }
    this.bits += "0";
    this.write(bits, value);
  }

  digits() {
    const whole = this.bits.padEnd(Math.ceil(this.bits.length / 6) * 6, "0");
    return (whole.match(/.{6}/g) || []).map((six) => DIGITS[parseInt(six, 2)]).join("");
  }
}

/** Writes the patterns of one channel after another: a note's shape, new or as a place among the last ten, and its pitches,
 * each as a place among the last eight or as a distance that passes over those. */
class Patterns {
  constructor(parts) {
    Object.assign(this, { parts, out: new Bits() });
  }

  channel({ noise, octave, patterns }) {
    const root = noise ? 0 : 12 * octave;
    this.last = noise ? FIRST_NOISE[0] : root;
    this.recent = (noise ? FIRST_NOISE : FIRST).map((pitch) => root + pitch);
    this.shapes = [];
    for (const pattern of patterns) this.pattern(pattern);
  }

  pattern(pattern) {
    this.out.write(1, Number(pattern.length > 0));
    let at = 0;
    for (const note of pattern) {
      this.rest(note.start - at);
      this.note(note);
      at = note.end;
    }
    if (pattern.length) this.rest(this.parts - at);
  }

  rest(parts) {
    if (!parts) return;
    this.out.write(2, 0);
    this.out.tail(1, 3, parts);
  }

  note({ start, end, pitches, continues }) {
    const shape = shapeOf(pitches.length, end - start),
      known = this.shapes.indexOf(shape);
    if (known >= 0) {
      this.out.write(1, 1);
      this.out.tail(0, 0, known);
      this.shapes.splice(known, 1);
    } else {
      this.out.write(2, 1);
      this.out.bits += shape;
    }
    this.shapes = [shape, ...this.shapes].slice(0, SHAPES);
    pitches.forEach((pitch, i) => {
      const place = this.recent.indexOf(pitch);
      if (place >= 0) {
        this.out.write(1, 1);
        this.out.write(3, place);
      } else {
        this.out.write(1, 0);
        this.interval(this.distance(pitch));
      }
      this.recent = [pitch, ...this.recent.filter((one) => one !== pitch)].slice(0, RECENT);
      this.last = i === pitches.length - 1 ? pitches[0] : pitch;
    });
    if (!start) this.out.write(1, Number(continues));
  }

  /** A sign and a number from 1 on. */
  interval(value) {
    this.out.write(1, Number(value < 0));
    this.out.tail(1, 3, Math.abs(value));
  }

  /** From the last pitch, in pitches that are not among the recent ones. */
  distance(pitch) {
    const step = this.last < pitch ? 1 : -1;
    let n = 0;
    for (let one = this.last + step; one !== pitch + step; one += step) n += !this.recent.includes(one);
    return step * n;
  }
}

/** How many pitches, and that the note ends as loud as it began, unbent, after so many parts; as bits. */
function shapeOf(pitches, length) {
  const out = new Bits();
  out.bits = "1".repeat(pitches - 1) + (pitches < 4 ? "0" : "");
  out.tail(1, 0, 1);
  out.write(2, LOUDEST);
  out.write(1, 0);
  out.tail(1, 3, length);
  out.write(2, LOUDEST);
  return out.bits;
}
