// Songs of BeepBox's JSON: the twin of what of audiocraft_ext/songs/beepbox/as_json.py codes need, no bends and no volumes.

import { checkedChannels, CHORD, HITS, KEYS, PARTS, PITCHES, rhythmOf, RHYTHMS } from "./voices.js";

const FORMAT = "BeepBox",
  [OLDEST, LATEST] = [5, 9];
const MODS = // formats that are read as far as they are the same
  "JummBox,GoldBox,UltraBox,AbyssBox,Dogebox2,Slarmoo's Box,SlarmoosBox,SomethingBox,TheepBox".split(",");
const SIGNS = { "#": 1, "♯": 1, b: 11, "♭": 11 },
  OLD_PITCHED = 3, // channels before those of noise, where they do not say what they are
  BARS = 128,
  [SLOWEST, FASTEST] = [30, 300],
  LARGE = 2 ** 31; // no number of a song is as large

/** The song of a JSON text (see voices.js), and what is to be said of it. Throws an Error in words. */
export function songOfJson(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new Error(`is no JSON (${error.message.slice(0, 80)})`);
  }
  const remarks = [],
    mod = isMod(found, remarks),
    beats = numberOf(valueOf(found, "beatsPerBar")),
    steps = numberOf(valueOf(found, "ticksPerBeat"));
  if (beats < 3 || beats > 16) throw new Error(`has bars of ${beats} beats; BeepBox has 3 to 16`);
  if (steps < 1 || steps > 1000) throw new Error(`has ${steps} ticks a beat: expected 1 to 1000`);
  const given = listOf(found, "channels").map((channel, i) => ({ channel, noise: isNoise(channel, i) })),
    modulations = given.filter(({ noise }) => noise === null).length;
  if (modulations) remarks.push(`channels of modulations are left out: ${modulations}`);
  const order = [false, true].flatMap((sort) => given.filter(({ noise }) => noise === sort)),
    pitched = order.filter(({ noise }) => !noise).length,
    drums = order.length - pitched;
  checkedChannels(pitched, drums);
  const longest = (name) => order.reduce((most, { channel }) => Math.max(most, listOf(channel, name).length), 0),
    [long, patterns] = [longest("sequence"), longest("patterns")];
  if (Math.max(long, patterns) > BARS && !mod)
    throw new Error(`has ${long} bars and ${patterns} patterns a channel; BeepBox has up to ${BARS}`);
  if (long > BARS) remarks.push(`the first ${BARS} of its ${long} bars are taken`);
  const bars = clamped(long, 1, BARS),
    lost = { notes: 0, pitches: 0 };
  const played = order.map(({ channel }) => sequenceOf(channel, patterns, bars)),
    used = Math.max(...played.flat());
  if (used > BARS) throw new Error(`plays a pattern ${used}, and BeepBox has up to ${BARS} a channel`);
  const channels = order.map(({ channel, noise }, i) => ({
    patterns: listOf(channel, "patterns")
      .slice(0, BARS)
      .map((pattern) => patternOf(pattern, noise, steps, beats * PARTS, lost)),
    sequence: played[i],
    noise,
  }));
  for (const [what, count] of Object.entries(lost))
    if (count) remarks.push(`${what} that BeepBox has no room for are left out: ${count}`);
  for (const name of ["introBars", "loopBars"]) numberOf(found[name] === undefined ? 0 : found[name]);
  const own = RHYTHMS.includes(steps) ? steps : RHYTHMS.at(-1),
    bpm = clamped(numberOf(found.beatsPerMinute === undefined ? 150 : found.beatsPerMinute), SLOWEST, FASTEST),
    key = keyOf(found.key === undefined ? 0 : found.key);
  return [{ channels, pitched, beats, rhythm: rhythmOf(channels, own), bpm, key, bars }, remarks];
}

const clamped = (x, low, high) => Math.min(Math.max(x, low), high);

/** Whether it is a mod's. */
function isMod(found, remarks) {
  if (!isObject(found)) throw new Error("is no JSON of a song: expected an object");
  const { format, version, channels } = found;
  if (MODS.includes(format)) {
    remarks.push(`made by ${format}: read as far as it is BeepBox's`);
    return true;
  }
  if (format !== FORMAT)
    throw new Error(`is no song of BeepBox: expected the format '${FORMAT}', got ${shown(format)}`);
  if (!Number.isInteger(version)) throw new Error(`has no 'version' that is a number, got ${shown(version)}`);
  if (Array.isArray(channels) && channels.some((one) => isObject(one) && one.type === "mod")) {
    remarks.push("made by JummBox: read as far as it is BeepBox's");
    return true;
  }
  if (version < OLDEST || version > LATEST)
    throw new Error(`is BeepBox's JSON of version ${version}: versions ${OLDEST} to ${LATEST} are read`);
  return false;
}

/** Null for a mod's channel of modulations. */
function isNoise(channel, number) {
  const kind = valueOf(channel, "type", number >= OLD_PITCHED ? "drum" : "pitch");
  return kind === "mod" ? null : kind === "drum";
}

function sequenceOf(channel, patterns, bars) {
  const found = listOf(channel, "sequence")
    .slice(0, bars)
    .map((one) => clamped(numberOf(one), 0, patterns));
  return [...found, ...new Array(bars - found.length).fill(0)];
}

function patternOf(pattern, noise, steps, parts, lost) {
  const notes = [];
  for (const one of listOf(pattern, "notes")) {
    const note = noteOf(one, notes.at(-1)?.end ?? 0, noise, steps, parts, lost);
    if (!note || notes.length >= parts) lost.notes++;
    else notes.push(note);
  }
  return notes;
}

/** Null where it lies before the one before it ends, or has no pitch or no length. */
function noteOf(note, begin, noise, steps, parts, lost) {
  const given = [...new Set(listOf(note, "pitches").map(numberOf))],
    at = []; // parts of its points
  let bend = 0;
  for (const point of listOf(note, "points")) {
    const tick = valueOf(point, "tick");
    if (typeof tick !== "number" || Math.abs(tick) >= LARGE)
      throw new Error(`has a note at a tick ${shown(tick)}, which is no number`);
    const part = Math.floor((tick * PARTS) / steps + 0.5);
    if (part > parts || part < (at.at(-1) ?? begin) || part === at.at(-1)) continue;
    const bent = numberOf(valueOf(point, "pitchBend", 0));
    if (!at.length) bend = bent;
    numberOf(valueOf(point, "volume", 100));
    at.push(part);
  }
  const pitches = given
    .slice(0, CHORD)
    .map((pitch) => pitch + bend)
    .filter((pitch) => pitch >= 0 && pitch < (noise ? HITS : PITCHES));
  if (at.length < 2 || !pitches.length) return null;
  lost.pitches += given.length - pitches.length;
  const [start, end] = [at[0], at.at(-1)];
  return { start, end, pitches, continues: note.continuesLastPattern === true && start === 0 };
}

function keyOf(key) {
  if (typeof key !== "string" || !key) return ((numberOf(key) % 12) + 12) % 12;
  const index = KEYS.indexOf(key[0].toUpperCase());
  return index < 0 ? 0 : (index + (SIGNS[key[1]?.toLowerCase()] ?? 0)) % 12;
}

const isObject = (x) => typeof x === "object" && x !== null && !Array.isArray(x);
const shown = (x) => String(JSON.stringify(x)).slice(0, 40);

/** A value of an object that has to be there, if no default is given. */
function valueOf(found, name, usual) {
  if (!isObject(found)) throw new Error(`expected an object with '${name}', got ${shown(found)}`);
  if (!Object.hasOwn(found, name) && usual === undefined) throw new Error(`has no '${name}' where BeepBox's JSON has one`);
  return Object.hasOwn(found, name) ? found[name] : usual;
}

function listOf(found, name) {
  const value = valueOf(found, name);
  if (!Array.isArray(value)) throw new Error(`has no list for '${name}', got ${shown(value)}`);
  return value;
}

/** A whole number of moderate size. */
function numberOf(value) {
  if (typeof value !== "number" || !(Math.abs(value) < LARGE)) throw new Error(`expected a number, got ${shown(value)}`);
  return Math.trunc(value);
}
