// MIDI files: the twin of audiocraft_ext/midi/write.py, of what beats, pieces and songs have in them.

import { rint } from "./numbers.js";

export const TICKS = 480; // of a quarter note
export const DRUMS = 9; // their channel, from 0
export const HIT = 60; // ticks of a hit of drums
const [NAME, TEMPO, END, PROGRAM, BEGIN] = [0, 1, 2, 4, 6]; // the order at one tick
const SHARPS = [0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5]; // of a major key

const beatUs = (bpm) => Math.min(Math.max(rint(60e6 / bpm), 1), 2 ** 24 - 1);
/** The tempo nearest to `bpm` that a MIDI file can say. */
export const midiTempo = (bpm) => 60e6 / beatUs(bpm);
/** The channels of pitched parts, in order. */
export const CHANNELS = Array.from({ length: 16 }, (_, i) => i).filter((channel) => channel !== DRUMS);

// An event is [tick, its place at one tick, pitch of an end, bytes]; a track is a list of them.

/** Tempo, time signature and, where it is not null, key (semitones above C) of a whole file. */
export function timeEvents(bpm, [over, under], key = null) {
  const us = beatUs(bpm);
  return [
    [0, TEMPO, 0, [0xff, 0x51, 3, us >> 16, (us >> 8) & 255, us & 255]],
    [0, TEMPO, 0, [0xff, 0x58, 4, over, Math.log2(under), 24, 8]],
    ...(key === null ? [] : [[0, TEMPO, 0, [0xff, 0x59, 2, SHARPS[key] & 255, 0]]]),
  ];
}

export const noteEvents = (channel, [start, end, pitch, velocity]) => [
  [start, BEGIN, 0, [0x90 + channel, pitch, velocity]],
  [end, END, pitch, [0x80 + channel, pitch, 0]],
];

export function nameEvent(text) {
  const bytes = [...new TextEncoder().encode(text)];
  return [0, NAME, 0, [0xff, 3, ...variable(bytes.length), ...bytes]];
}

export const programEvent = (channel, program) => [0, PROGRAM, 0, [0xc0 + channel, program]];

/** A file of type 0 where it has one track, else of type 1, `Uint8Array`; all tracks end at `end` or the last event. */
export function midiBytes(tracks, end) {
  const last = tracks.flat().reduce((most, [tick]) => Math.max(most, tick), end);
  return Uint8Array.from([
    ...text("MThd"),
    ...word(6),
    0,
    tracks.length > 1 ? 1 : 0,
    tracks.length >> 8,
    tracks.length & 255,
    TICKS >> 8,
    TICKS & 255,
    ...tracks.flatMap((events) => chunk(events, last)),
  ]);
}

function chunk(events, last) {
  const sorted = [...events].sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]),
    out = [];
  let before = 0;
  for (const [tick, , , bytes] of [...sorted, [last, 9, 0, [0xff, 0x2f, 0]]]) {
    out.push(...variable(tick - before), ...bytes);
    before = tick;
  }
  return [...text("MTrk"), ...word(out.length), ...out];
}

const word = (x) => [x >>> 24, (x >> 16) & 255, (x >> 8) & 255, x & 255];
const text = (s) => [...s].map((c) => c.charCodeAt(0));

function variable(number) {
  const out = [number & 0x7f];
  while ((number >>= 7)) out.unshift((number & 0x7f) | 0x80);
  return out;
}
