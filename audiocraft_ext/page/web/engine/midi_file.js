// MIDI files as they are read: the twin of audiocraft_ext/midi/file.py, but for key signatures. Whatever the bytes are,
// they are read in one pass or refused in one line, and what is wrong with them is remarked.

import { TICKS } from "./midi.js";
import { endsThere, find, HEADER, letters, nextTrack, number, TRACK, unwrap } from "./midi_chunks.js";
import { paired } from "./midi_notes.js";
import { beatsOfFrames } from "./midi_time.js";
import { rint } from "./numbers.js";

export const DRUMS = 10; // the channel of General MIDI's drums, from 1
const [SLOWEST, FASTEST] = [10, 1000]; // BPM: others are left out
const LATEST = 2 ** 40, // tick
  BACK = 0x0ff00000, // a delta time of 28 bits from here on was a negative number
  NAME = 200; // characters of a name that are kept
const WRONG = 3,
  WRONG_SHARE = 0.02; // messages of a track that may be wrong: so many, and of all that share more
const LIVE = { 0xf1: 1, 0xf2: 2, 0xf3: 1, 0xf6: 0 }; // no file has these: bytes of values
for (let status = 0xf8; status < 0xff; status++) LIVE[status] = 0;

/** A file whose notes cannot be read; the message says why. */
export class BrokenMidi extends Error {}

/** The data end inside of something. */
class CutOff extends Error {}

/** A file's bytes, `Uint8Array`, as `{notes, ticksPerBeat, tempos, meters, names, end, remarks, programs, controls,
 * bends, tracks}`: notes `{start, end, track, channel, pitch, velocity}` by start and pitch, tempos and meters as in
 * midi_time.js, the others by their `tick`. Tracks count from 0, channels from 1. Throws `BrokenMidi`. */
export function parse(bytes) {
  if (!bytes.length) throw new BrokenMidi("is empty (0 bytes)");
  const [data, before] = unwrap(bytes);
  if (letters(data, 0) !== HEADER) throw new BrokenMidi(`is not a MIDI file, it begins with "${shown(letters(data, 0))}"`);
  if (data.length < 14) throw new BrokenMidi(`ends inside its header, after ${data.length} bytes`);
  const [kind, tracks, division] = [8, 10, 12].map((at) => number(data, at, 2)),
    size = number(data, 4, 4);
  if (size < 6 || kind > 2 || !division)
    throw new BrokenMidi(`has a header that makes no sense (type ${kind}, ${tracks} tracks, division ${division})`);
  if (kind === 2)
    throw new BrokenMidi("is of type 2, patterns that follow no common time; save it as type 0 or 1");
  const reader = new Reader(data, before ? [before] : []);
  reader.read(8 + size, tracks);
  const midi = reader.midi(division);
  return division < 0x8000 ? midi : fromFrames(midi, division);
}

const shown = (text) => text.replace(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** Goes through the tracks. */
class Reader {
  constructor(data, remarks) {
    Object.assign(this, { data, remarks, wrong: 0, ends: [], events: [], tempos: [], meters: [], names: new Map() });
  }

  read(at, counted) {
    const { data, remarks, ends } = this;
    let junk = 0;
    for (let found; (found = nextTrack(data, at)); junk += found.junk) at = this.track(found.begin, found.end);
    if (!ends.length) throw new BrokenMidi(`ends after 0 of its ${counted} tracks`);
    if (ends.length !== counted)
      remarks.push(`its header counts ${counted} track${counted === 1 ? "" : "s"}, it has ${ends.length}: all are read`);
    if (junk) remarks.push(`${junk} bytes between its tracks are no MIDI, passed over`);
    if (letters(data, at) === HEADER) remarks.push(`another MIDI file begins at its byte ${at}, not read`);
    if (this.wrong)
      remarks.push(
        `${this.wrong} message${this.wrong > 1 ? "s" : ""} that no file may have (a value above 127, a clock), passed over`,
      );
  }

  byte(at) {
    if (at >= this.data.length) throw new CutOff();
    return this.data[at];
  }

  /** A number of variable length, and where it ends. */
  number(at) {
    let value = 0;
    for (let i = at; i < at + 4; i++) {
      const byte = this.byte(i);
      value = (value << 7) | (byte & 0x7f);
      if (byte < 0x80) return [value, i + 1];
    }
    throw new BrokenMidi(`has a number of more than four bytes at byte ${at} (a negative time?)`);
  }

  /** Read the track from byte `at`, which by its size ends at `end`; where it does. */
  track(at, end) {
    const { data } = this,
      place = this.ends.length + 1,
      ticks = [], // of the events of channels
      places = []; // of their values, behind the status
    let limit = endsThere(data, end) ? end : data.length,
      tick = 0,
      size = 0,
      delta,
      cut = false,
      ended = false,
      events;
    try {
      while (at < limit) {
        [delta, at] = this.number(at);
        if (delta >= BACK) throw new BrokenMidi(`steps back in time at byte ${at}`);
        tick += delta;
        const byte = this.byte(at);
        if (byte >= 0xf0) {
          [at, ended] = this.other(tick, byte, at + 1, limit);
          if (ended) break;
          continue;
        }
        if (byte >= 0x80) {
          at++;
          size = byte >= 0xc0 && byte < 0xe0 ? 1 : 2; // program and channel pressure: one value, all others two
        }
        ticks.push(tick);
        places.push(at);
        at += size;
      }
    } catch (error) {
      if (!(error instanceof CutOff)) throw error;
      cut = true;
    } finally {
      // what is wrong with the values of an event comes before what is wrong behind it
      events = this.channelEvents(ticks, at > data.length ? places.slice(0, -1) : places);
    }
    if ((at > limit && limit < data.length) || ((cut || at > limit) && end <= data.length))
      throw new BrokenMidi(
        limit < data.length ? `has an event that goes on behind track ${place}` : `ends inside an event of track ${place}`,
      );
    if (tick >= LATEST) throw new BrokenMidi(`goes on for ${tick.toExponential(0)} ticks`);
    const { remarks } = this;
    if (!ended && end > data.length)
      remarks.push(`ends inside track ${place}, ${end - data.length} bytes too early: read up to there`);
    else if (limit !== end || find(data, TRACK, at, limit) >= 0) {
      remarks.push(`the size of track ${place} is wrong, read up to its end`);
      limit = at;
    } else if (data.subarray(at, limit).some(Boolean))
      remarks.push(`track ${place} has an end before its last ${limit - at} bytes: read up to there`);
    this.ends.push(tick);
    for (const event of events) this.events.push(event);
    return limit;
  }

  /** The events `{tick, track, status, first, second}` whose values lie at `places`. Those with a wrong value are one message
   * less, unless there are so many of them that these are no messages. */
  channelEvents(ticks, places) {
    const { data } = this,
      track = this.ends.length,
      found = [];
    let status = 0,
      count = 0,
      worst = "";
    places.forEach((at, i) => {
      if (data[at - 1] >= 0x80) status = data[at - 1];
      if (!status) throw new BrokenMidi(`has values without an event at byte ${at}`);
      const [first, second] = [data[at] ?? 0, data[at + 1] ?? 0],
        alone = status >= 0xc0 && status < 0xe0;
      if (first <= 0x7f && (alone || second <= 0x7f)) found.push({ tick: ticks[i], track, status, first, second });
      else if (!count++) worst = `${alone ? first : Math.max(first, second)} at byte ${at}`;
    });
    this.wrong += count;
    if (count > WRONG + places.length * WRONG_SHARE)
      throw new BrokenMidi(
        `has ${count} values above 127 in ${places.length} events, too many to believe the others; the first is ${worst}`,
      );
    return found;
  }

  /** An event that is not a channel's; where it ends, and whether the track does. */
  other(tick, status, at, end) {
    let kind = -1,
      size;
    if (status in LIVE) {
      this.wrong++;
      return [at + LIVE[status], false];
    }
    if (status === 0xff) kind = this.byte(at++);
    else if (status !== 0xf0 && status !== 0xf7)
      throw new BrokenMidi(`has an event 0x${status.toString(16)} at byte ${at - 1}, which no file may have`);
    [size, at] = this.number(at);
    if (at + size > end) throw new CutOff();
    const value = this.data.subarray(at, at + size),
      place = this.ends.length;
    if (kind === 0x2f) return [at + size, true];
    if (kind === 0x51 && size === 3) this.tempos.push([tick, number(value, 0, 3)]);
    else if (kind === 0x58 && size >= 2) this.meters.push([tick, value[0], value[1]]);
    else if (kind === 0x03 || kind === 0x04)
      this.names.set(place, `${this.names.get(place) ?? ""} ${textOf(value)}`.trim());
    return [at + size, false];
  }

  /** What was read with what is not believable left out, in order. */
  midi(ticksPerBeat) {
    const { remarks, names, ends } = this,
      inOrder = (rows) => [...rows].sort((a, b) => a[0] - b[0]);
    const tempos = inOrder(this.tempos)
      .map(([tick, us]) => [tick, 60e6 / us])
      .filter(([, bpm]) => SLOWEST <= bpm && bpm <= FASTEST);
    if (tempos.length < this.tempos.length)
      remarks.push(`tempo outside of ${SLOWEST} to ${FASTEST} BPM, not believed`);
    const meters = inOrder(this.meters)
      .filter(([, over, under]) => over >= 1 && over <= 64 && under <= 6)
      .map(([tick, over, under]) => [tick, over, 2 ** under]);
    if (meters.length < this.meters.length) remarks.push("time signature of a kind that there is none, not believed");
    const end = ends.reduce((most, tick) => Math.max(most, tick), 0);
    return { ...this.tables(), ticksPerBeat, tempos, meters, names, end, remarks, tracks: ends.length };
  }

  /** Notes, programs, controllers and pitch bends of all tracks, in the order of time. */
  tables() {
    const found = { notes: [], programs: [], controls: [], bends: [] },
      played = [];
    this.events.sort((a, b) => a.tick - b.tick);
    for (const { tick, track, status, first, second } of this.events) {
      const kind = status >> 4,
        channel = (status & 15) + 1;
      if (kind <= 9) {
        // 8 ends a note, as 9 does with a velocity of 0
        const on = kind === 9 && second > 0,
          key = (track * 16 + channel) * 128 + first;
        played.push({ key, tick, on, last: this.ends[track], track, channel, pitch: first, velocity: second });
      } else if (kind === 11) found.controls.push({ tick, track, channel, number: first, value: second });
      else if (kind === 12) found.programs.push({ tick, track, channel, program: first });
      else if (kind === 14) found.bends.push({ tick, track, channel, bend: second * 128 + first - 0x2000 });
    }
    const ends = paired(played);
    played.forEach(({ tick, on, track, channel, pitch, velocity }, i) => {
      if (on) found.notes.push({ start: tick, end: ends[i], track, channel, pitch, velocity });
    });
    found.notes.sort((a, b) => a.start - b.start || a.pitch - b.pitch);
    return found;
  }
}

function textOf(value) {
  try {
    return [...new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value)].slice(0, NAME).join("");
  } catch {
    return String.fromCharCode(...value.subarray(0, NAME));
  }
}

/** The same for a file whose ticks are parts of a film's frame: seconds, which the tempo turns into beats. */
function fromFrames(midi, division) {
  const frames = 256 - (division >> 8),
    parts = division & 0xff;
  if (![24, 25, 29, 30].includes(frames) || !parts)
    throw new BrokenMidi(`has a header that makes no sense (division ${division})`);
  const beats = beatsOfFrames(midi.tempos, parts * (frames === 29 ? 30_000 / 1001 : frames)),
    ticks = (of) => rint(beats(of) * TICKS);
  const moved = (rows) => rows.map((row) => ({ ...row, tick: ticks(row.tick) })),
    first = (rows) => rows.map(([tick, ...rest]) => [ticks(tick), ...rest]);
  return {
    ...midi,
    notes: midi.notes.map((note) => ({ ...note, start: ticks(note.start), end: ticks(note.end) })),
    programs: moved(midi.programs),
    controls: moved(midi.controls),
    bends: moved(midi.bends),
    meters: first(midi.meters),
    tempos: first(midi.tempos),
    end: ticks(midi.end),
    ticksPerBeat: TICKS,
    remarks: [...midi.remarks, "its time is that of film, beats are by its tempo"],
  };
}
