// From a MIDI file to the codes of a beat: the twin of audiocraft_ext/drums/midi.py and of `read_source` in
// drums/play/edit.py.

import { beatRecipe } from "./drums.js";
import { DrumGrid } from "./grid.js";
import { BrokenMidi, DRUMS, parse } from "./midi_file.js";
import { clock, meterMap } from "./midi_time.js";
import { fewer, pairwise, rint, rounded } from "./numbers.js";
import { AS_IT_IS } from "./spec.js";

const EDGE = String.raw`(?<![\p{L}\p{N}_])`,
  BEHIND = String.raw`(?![\p{L}\p{N}_])`;
const NAMES = new RegExp(`drum|${EDGE}kit${BEHIND}|perc|${EDGE}beats?${BEHIND}|${EDGE}[tc]r-?\\d{2,3}${BEHIND}`, "iu");
// Kicks, snares, hats and cymbals of General MIDI, with the edges that electronic kits add; and with toms.
const CORE = [22, 26, 35, 36, 37, 38, 39, 40, 42, 44, 46, 49, 51, 53, 55, 57, 59],
  KIT = [...CORE, 41, 43, 45, 47, 48, 50, 52];
const LEAST_CORE = 0.4,
  LEAST_KIT = 0.8; // shares of the notes, where notes are drums
const MOST_BARS = 256;

/** A file's drums as a clip, `{recipe, index, codes}`, and what is to be said of it, `remarks`. Empty bars before the first
 * hit and behind the last are left out, and those behind the first `most`; of several time signatures it is the one with
 * the most hits. Throws an Error in words. */
export function beatOf(info, bytes, most = MOST_BARS) {
  const grid = new DrumGrid(info.codec),
    midi = parse(bytes),
    [notes, guess] = drumsOf(midi),
    [parts, lost] = stretches(midi, notes, grid);
  if (!parts.length && lost.length) throw new BrokenMidi(lost[0]);
  const hits = ({ notes }) => notes.reduce((sum, [, pitch]) => sum + (grid.classOf[pitch] >= 0), 0),
    part = parts.reduce((best, one) => (hits(one) > hits(best) ? one : best));
  if (!hits(part))
    throw new BrokenMidi(
      `none of its ${notes.length} hits is in a class of the map ${info.codec.map.name}, they have ${pitchesOf(notes)}`,
    );
  const remarks = [guess, ...midi.remarks, ...lost];
  if (parts.length > 1)
    remarks.push(`it has several time signatures, and only the ${part.notes.length} hits in ${part.meter.join("/")} are taken`);
  const [clip, remark] = played(part, grid, most),
    cost = costOf(clip, grid);
  remarks.push(remark, unmapped(clip, grid, info.codec.map), cost);
  const { bars, meter } = clip,
    codes = grid.encode(clip),
    bpm = rounded(clip.bpm, 6);
  const recipe = beatRecipe(info, { bars, bpm, meter, seed: 0n, edit: AS_IT_IS, source: codes });
  return { recipe, index: 0, codes, remarks: remarks.filter(Boolean) };
}

/** The notes `[tick, pitch, velocity]` of a file's drums, and how they were found, "" where there was nothing to guess: those
 * of channel 10, else of the only one that is used if a track is called something like "Drums" or its notes look like
 * drums, else those of the tracks with such a name. */
function drumsOf(midi) {
  const used = [...new Set(midi.notes.map(({ channel }) => channel))].sort((a, b) => a - b),
    among = used.length === 1 ? `channel ${used[0]}` : `channels ${used.join(", ")}`;
  if (!used.length) throw new BrokenMidi(["has no notes", ...midi.remarks].join("; "));
  const rows = (wanted) => midi.notes.filter(wanted).map(({ start, pitch, velocity }) => [start, pitch, velocity]);
  if (used.includes(DRUMS)) return [rows(({ channel }) => channel === DRUMS), ""];
  const tracks = [...midi.names.keys()].filter((track) => NAMES.test(midi.names.get(track))),
    named = rows(({ track }) => tracks.includes(track)),
    called = tracks.map((track) => midi.names.get(track)).join(", ");
  if (used.length === 1) {
    const all = rows(() => true),
      why = named.length ? `in a track called ${called}` : likeDrums(all, used[0]);
    return [all, `drums on ${among}, the only one used, ${why}`];
  }
  if (named.length) return [named, `drums in the track called ${called}`];
  throw new BrokenMidi(`has notes on ${among}, none of which is known to be drums; put them on channel 10`);
}

/** In what notes look like drums. Throws `BrokenMidi` where they do not. */
function likeDrums(notes, channel) {
  const [core, kit] = [CORE, KIT].map((which) => notes.filter(([, pitch]) => which.includes(pitch)).length / notes.length),
    percent = (share) => `${rint(100 * share)}%`;
  const found = `${percent(core)} of its notes at pitches of kick, snare, hats and cymbals, ${percent(kit)} at those of a kit`;
  if (core < LEAST_CORE || kit < LEAST_KIT)
    throw new BrokenMidi(`has notes on channel ${channel} only, which do not look like drums (${found}); put them on channel 10`);
  return found;
}

/** A file's drums as clips `{notes, ticksPerBeat, bpm, meter, bars}`, one for each time signature after another, and what the
 * grid cannot represent of them. */
function stretches(midi, notes, grid) {
  const { ticksPerBeat: beat } = midi,
    begins = meterMap(midi.meters),
    half = (2 * beat) / grid.steps, // of a step, in ticks
    ticks = notes.map(([tick]) => tick),
    seconds = clock(midi.tempos, beat),
    found = [],
    lost = [];
  begins.forEach(([start, meter], i) => {
    let end = begins[i + 1]?.[0] ?? null;
    const inside = notes.slice(fewer(start - half, ticks), end === null ? undefined : fewer(end - half, ticks)),
      bar = (beat * 4 * meter[0]) / meter[1];
    let bars;
    try {
      grid.barSteps(meter);
    } catch (error) {
      if (inside.length) lost.push(error.message);
      return;
    }
    if (end === null) {
      // the file may end with empty bars
      const whole = Math.floor((Math.max(midi.end, start) - start) / bar);
      bars = Math.max(whole, Math.floor((Math.max(ticks.at(-1), start) + half - start) / bar) + 1);
      end = start + bars * bar;
    } else {
      bars = Math.max(1, Math.ceil((end - start) / bar));
      if ((end - start) % bar)
        lost.push(`a bar of ${meter.join("/")} ends early at another time signature, it is filled up`);
    }
    const bpm = (60 * (end - start)) / beat / (seconds(end) - seconds(start)),
      own = inside.map(([tick, ...rest]) => [tick - start, ...rest]);
    found.push({ notes: own, ticksPerBeat: beat, bpm, meter, bars });
  });
  return [found, [...new Set(lost)]];
}

/** The bars from the first hit to the last, at most so many; and what there is to say of it. */
function played({ notes, ticksPerBeat, bpm, meter }, grid, most) {
  const [over, whole] = meter, // as many ticks for each: then bars end on ticks
    bar = 4 * ticksPerBeat * over,
    half = ((2 * ticksPerBeat) / grid.steps) * whole;
  const rows = notes.map(([tick, ...rest]) => [tick * whole, ...rest]),
    barOf = ([tick]) => Math.floor((tick + half) / bar),
    hits = rows.filter(([, pitch]) => grid.classOf[pitch] >= 0);
  const first = Math.max(0, barOf(hits[0])),
    last = barOf(hits.at(-1)) + 1,
    end = Math.min(last, first + most);
  const inside = rows.filter((row) => barOf(row) >= first && barOf(row) < end).map(([tick, ...rest]) => [tick - first * bar, ...rest]);
  const remarks = [
    first ? `the first hit is in bar ${first + 1}, where the beat begins` : "",
    end < last ? `the first ${most} bars of it` : "",
  ];
  const clip = { notes: inside, ticksPerBeat: ticksPerBeat * whole, bpm, meter, bars: end - first };
  return [clip, remarks.filter(Boolean).join("; ")];
}

/** The most frequent, for a message. */
function pitchesOf(notes) {
  const counts = new Map();
  for (const [, pitch] of notes) counts.set(pitch, 1 + (counts.get(pitch) || 0));
  const found = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 6),
    names = found.map(([pitch]) => pitch).sort((a, b) => a - b);
  return counts.size === 1 ? `pitch ${names[0]}` : `pitches ${names.join(", ")}${counts.size > 6 ? " ..." : ""}`;
}

function unmapped({ notes }, grid, map) {
  const unknown = notes.filter(([, pitch]) => !grid.classes.some(({ pitches }) => pitches.includes(pitch))),
    where = map.unmapped === "drop" ? "left out" : `taken as ${map.unmapped}`;
  return unknown.length ? `${unknown.length} hits with ${pitchesOf(unknown)} are in no class of the map, they are ${where}` : "";
}

/** What the grid does to the hits, where it does anything audible. */
function costOf(clip, grid) {
  const hits = grid.inside(clip),
    of = clip.notes.filter(([, pitch]) => grid.classOf[pitch] >= 0).length,
    mean = (values) => (values.length ? pairwise(values, 0, values.length, (x) => x) / values.length : 0);
  const errors = (error) => Float64Array.from(hits, (hit) => Math.abs(error(hit, clip.notes[hit.note])));
  const velocity = mean(errors((hit, [, , was]) => grid.loudness(hit.velocity) - was)),
    timing = errors((hit, [tick]) => grid.ticks(hit) / 480 - tick / clip.ticksPerBeat).map((beats) => (beats * 60_000) / clip.bpm);
  const late = percentile(timing, 0.95),
    said = [];
  if (hits.length < of)
    said.push(`${of - hits.length} of ${of} hits give way to louder ones of their class in the same step`);
  if (late >= 1 || velocity >= 1)
    said.push(
      `the grid moves hits by ${tenths(mean(timing))} ms on average (19 of 20 by less than ${tenths(late)} ms) and ` +
        `velocities by ${tenths(velocity)}`,
    );
  return said.join(", and ");
}

const tenths = (x) => rounded(x, 1).toFixed(1);

/** As numpy's, between the two values that are next to it. */
function percentile(values, share) {
  if (!values.length) return 0;
  const order = Float64Array.from(values).sort(),
    at = share * (order.length - 1),
    [low, high] = [order[Math.floor(at)], order[Math.ceil(at)]],
    part = at - Math.floor(at);
  return part >= 0.5 ? high - (high - low) * (1 - part) : low + (high - low) * part;
}
