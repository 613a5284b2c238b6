// Songs of BeepBox's URLs, versions 2 to 9: the twin of audiocraft_ext/songs/beepbox/url_read.py. Instruments are passed over.

import { DIGITS } from "./beepbox.js";
import { Bits, CUT, PatternReader } from "./beepbox_notes.js";
import { checkedChannels, PARTS, RHYTHMS, rhythmOf } from "./voices.js";

const VALUES = Object.fromEntries([...[...DIGITS].map((digit, value) => [digit, value]), [".", 62]]); // older ones have a dot
const [OLDEST, LATEST] = [2, 9],
  BARS = 128,
  OCTAVES = 7;
const MODS = { j: "JummBox", g: "GoldBox", u: "UltraBox", d: "Dogebox2", a: "AbyssBox", s: "Slarmoo's Box", b: "SomethingBox", t: "TheepBox" };
const [SPECTRUM, DRUMSET] = [3, 4]; // types of instruments
const OLD_TEMPOS = [
  [95, 120, 151, 190],
  [88, 95, 103, 111, 120, 130, 140, 151, 163, 176, 190, 206, 222, 240, 259],
];
const OLD_BEATS = [6, 7, 8, 9, 10],
  SEVERAL = [5, 6, 12, 13]; // targets of envelopes that there are several of

const clamped = (x, low, high) => Math.min(Math.max(x, low), high);
const bitsFor = (number) => (number ? number.toString(2).length : 0);

/** The song of a URL, or of what stands behind its `#` (see voices.js). Throws an Error in words. */
export function songOfUrl(text) {
  const at = text.indexOf("#");
  if (at < 0 && text.includes("://")) throw new Error("is a link without a song: expected a #, and the song behind it");
  const digits = text.slice(at + 1).replace(/^.*\bsong=/, ""),
    version = VALUES[digits[0]];
  if (MODS[digits[0]])
    throw new Error(
      `is a song of ${MODS[digits[0]]} (its URL begins with '${digits[0]}'), and only BeepBox's URLs are read; export it there as JSON`,
    );
  if (version === undefined)
    throw new Error(
      `is no song of BeepBox: expected its JSON, or a URL whose song begins with ${OLDEST} to ${LATEST}, got '${digits.slice(0, 12)}'`,
    );
  if (version < OLDEST || version > LATEST)
    throw new Error(`is of version '${digits[0]}': expected a URL of BeepBox, ${OLDEST} to ${LATEST}`);
  return new UrlReader(digits, version).song();
}

/** Goes through the settings. */
class UrlReader {
  constructor(digits, version) {
    Object.assign(this, { digits, version, at: 1, pitched: 3, noise: 1, key: 0, tempo: 150, beats: 8, rhythm: 1 });
    Object.assign(this, { bars: 16, patterns: 8, octaves: [4, 3, 2, 0], counts: [1, 1, 1, 1], layered: false, byPattern: false });
    Object.assign(this, { type: 0, channel: 0, instrument: -1, sequences: new Map(), found: new Map() });
  }

  get channels() {
    return this.pitched + this.noise;
  }

  song() {
    while (this.at < this.digits.length) {
      const tag = this.digits[this.at++];
      if (!Object.hasOwn(TAGS, tag)) throw new Error(`has a setting '${tag}' at its digit ${this.at} that BeepBox has not`);
      TAGS[tag](this);
    }
    if (!this.found.size) throw new Error(CUT);
    const { bars, patterns, pitched, beats, key, tempo: bpm } = this;
    const channels = Array.from({ length: this.channels }, (_, i) => {
      const sequence = [...(this.sequences.get(i) || []), ...new Array(bars).fill(1)].slice(0, bars),
        own = [...(this.found.get(i) || []), ...new Array(patterns).fill([])].slice(0, patterns),
        most = Math.max(...sequence);
      if (most > patterns) throw new Error(`plays its pattern ${most}, and has ${patterns}`);
      return { patterns: own, sequence, noise: i >= pitched };
    });
    return { channels, pitched, beats, rhythm: rhythmOf(channels, RHYTHMS[this.rhythm]), bpm, key, bars };
  }

  digit() {
    if (this.at >= this.digits.length) throw new Error(CUT);
    const digit = this.digits[this.at++];
    if (VALUES[digit] === undefined) throw new Error(`has a '${digit}' at its digit ${this.at}, which no URL of a song has`);
    return VALUES[digit];
  }

  number() {
    return this.digit() * 64 + this.digit();
  }

  some(digits) {
    return Array.from({ length: digits }, () => this.digit());
  }

  checked(channel) {
    if (channel >= this.channels) throw new Error(`speaks of its channel ${channel + 1}, and has ${this.channels}`);
    return channel;
  }

  channelCounts() {
    [this.pitched, this.noise] = this.some(2);
    checkedChannels(this.pitched, this.noise);
    const upTo = (list, filled) => [...list, ...new Array(this.channels).fill(filled)].slice(0, this.channels);
    Object.assign(this, { octaves: upTo(this.octaves, 0), counts: upTo(this.counts, 1) });
  }

  keyIs() {
    const key = this.digit();
    this.key = clamped(this.version < 7 ? 11 - key : key, 0, 11);
  }

  tempoIs() {
    const tempos = OLD_TEMPOS[Number(this.version >= 4)],
      said = this.version < 7 ? this.digit() : this.number();
    if (this.version < 7 && said >= tempos.length)
      throw new Error(`has a tempo ${said} where version ${this.version} has ${tempos.length}`);
    this.tempo = clamped(this.version < 7 ? tempos[said] : said, 30, 300);
  }

  beatsAre() {
    const beats = this.digit();
    if (this.version < 3 && beats >= OLD_BEATS.length)
      throw new Error(`has bars ${beats} where version ${this.version} has ${OLD_BEATS.length}`);
    this.beats = clamped(this.version < 3 ? OLD_BEATS[beats] : beats + 1, 3, 16);
  }

  barsAre() {
    this.bars = this.number() + 1;
    if (this.bars > BARS) throw new Error(`has ${this.bars} bars, and BeepBox up to ${BARS}`);
  }

  patternsAre() {
    this.patterns = (this.version < 8 ? this.digit() : this.number()) + 1;
    if (this.patterns > BARS) throw new Error(`has ${this.patterns} patterns a channel, and BeepBox up to ${BARS}`);
  }

  instrumentsAre() {
    if (this.version < 9) {
      const count = this.digit() + 1;
      Object.assign(this, { counts: new Array(this.channels).fill(count), byPattern: count > 1 });
    } else {
      const flags = this.digit();
      Object.assign(this, { layered: Boolean(flags & 2), byPattern: Boolean(flags & 1) });
      this.counts = Array.from({ length: this.channels }, () => (flags & 3 ? this.digit() + 1 : 1));
    }
    const most = Math.max(...this.counts);
    if (most > 10) throw new Error(`has ${most} instruments in a channel, and BeepBox up to 10`);
  }

  rhythmIs() {
    this.rhythm = this.digit();
    if (this.rhythm >= RHYTHMS.length) throw new Error(`has a rhythm ${this.rhythm}, and BeepBox ${RHYTHMS.length} of them`);
  }

  octavesAre() {
    const all = this.pitched + (this.version < 9 ? this.noise : 0),
      channels = this.version < 3 ? [this.checked(this.digit())] : Array.from({ length: all }, (_, i) => i);
    for (const channel of channels) {
      const octave = this.digit() + Number(this.version < 9);
      this.octaves[channel] = channel < this.pitched ? Math.min(octave, OCTAVES - 1) : 0;
    }
  }

  instrumentBegins() {
    if (++this.instrument >= this.counts[this.channel]) Object.assign(this, { channel: this.channel + 1, instrument: 0 });
    this.checked(this.channel);
    this.type = this.digit();
  }

  sequence() {
    if (this.version < 3) {
      const channel = this.digit(),
        bars = this.digit();
      this.checked(channel);
      const bits = new Bits(this.some(Math.ceil(bars / 2)));
      this.sequences.set(channel, Array.from({ length: bars }, () => bits.read(3) + 1));
      return;
    }
    const added = Number(this.version < 5), // they have no rest
      size = bitsFor(this.patterns - added),
      bits = new Bits(this.some(Math.ceil((this.channels * this.bars * size) / 6)));
    for (let channel = 0; channel < this.channels; channel++)
      this.sequences.set(channel, Array.from({ length: this.bars }, () => bits.read(size) + added));
  }

  notes() {
    const { version } = this,
      layout = { version, parts: this.beats * PARTS, step: PARTS / RHYTHMS[this.rhythm] };
    let channels = Array.from({ length: this.channels }, (_, i) => i),
      length = 0;
    if (version < 3) {
      channels = [this.digit()];
      this.digit();
      length = this.number();
      this.checked(channels[0]);
    } else {
      const size = this.digit();
      if (size < 1 || size > 4) throw new Error(`has ${size} digits for the length of its notes: expected 1 to 4`);
      length = this.some(size).reduce((sum, digit) => sum * 64 + digit, 0);
    }
    if (length > this.digits.length - this.at) throw new Error(CUT);
    const bits = new Bits(this.some(length));
    for (const channel of channels) {
      const reader = new PatternReader(bits, layout, channel >= this.pitched, this.octaves[channel]),
        found = [];
      for (let i = 0; i < this.patterns; i++) {
        this.instrumentsOfPattern(bits, this.counts[channel]);
        found.push(reader.pattern());
      }
      this.found.set(channel, found);
    }
  }

  instrumentsOfPattern(bits, count) {
    const size = bitsFor(count - 1);
    if (this.version < 9) bits.read(size);
    else if (this.byPattern) {
      const most = this.layered ? Math.min(4, count) : 1;
      for (let left = bits.read(bitsFor(most - 1)) + 1; left; left--) bits.read(size);
    }
  }

  // Instruments, passed over

  effects() {
    if (this.version < 9) return this.some(1);
    const there = this.number(),
      has = (effect) => (there >> effect) & 1;
    if (has(5)) this.some(3 * this.digit());
    for (const effect of [10, 11, 7, 8, 9, 3, 4, 4, 2, 1, 6, 6, 0]) this.some(has(effect));
  }

  envelopes() {
    if (this.version < 9) return this.some(4);
    for (let left = Math.min(this.digit(), 12); left; left--) {
      if (SEVERAL.includes(this.digit())) this.digit();
      this.digit();
    }
  }

  spectrum() {
    if (this.type !== SPECTRUM && this.type !== DRUMSET) throw new Error("has a spectrum for an instrument that has none");
    this.some(this.type === SPECTRUM ? 15 : 180);
  }

  /** One setting: of a channel that is named, of every instrument of all channels, of the last instrument. */
  old() {
    this.some(this.version < 3 ? 2 : this.version < 6 ? this.counts.reduce((a, b) => a + b) : 1);
  }
}

const skip = (digits, beforeNine) => (reader) => reader.some(reader.version < 9 ? (beforeNine ?? digits) : digits);
const before = (version, was, is) => (reader) => (reader.version < version ? was : is)(reader);
const old = (reader) => reader.old();

const TAGS = {
  n: (reader) => reader.channelCounts(),
  s: skip(1),
  k: (reader) => reader.keyIs(),
  l: before(5, skip(1), skip(2)),
  e: before(5, skip(1), skip(2)),
  t: (reader) => reader.tempoIs(),
  a: (reader) => reader.beatsAre(),
  g: (reader) => reader.barsAre(),
  j: (reader) => reader.patternsAre(),
  i: (reader) => reader.instrumentsAre(),
  r: (reader) => reader.rhythmIs(),
  o: (reader) => reader.octavesAre(),
  T: (reader) => reader.instrumentBegins(),
  b: (reader) => reader.sequence(),
  p: (reader) => reader.notes(),
  q: (reader) => reader.effects(),
  E: (reader) => reader.envelopes(),
  f: before(9, old, (reader) => reader.some(3 * reader.digit())),
  d: before(9, old, skip(2)),
  S: (reader) => reader.spectrum(),
  z: (reader) => reader.some(reader.version >= 9 || reader.type === DRUMSET ? 12 : 1),
  c: before(9, old, () => {}),
  ...{ h: old, v: old, w: old },
  ...{ m: skip(0, 1), y: skip(0, 1), C: skip(0, 1), L: skip(0, 1), V: skip(0, 1), W: skip(1, 2) },
  ...{ u: skip(2), x: skip(3), I: skip(1), A: skip(1), F: skip(1), B: skip(1), Q: skip(4), P: skip(4), H: skip(14) },
};
