// Songs of MIDI files: any file's notes on BeepBox's channels, each of which plays one chord at a time. The twin of
// audiocraft_ext/songs/from_midi.py, of the longest stretch of a file.

import { BrokenMidi, DRUMS as DRUM_CHANNEL } from "./midi_file.js";
import { withSustain } from "./midi_notes.js";
import { clock, meterMap } from "./midi_time.js";
import { pairwise, rint } from "./numbers.js";
import { CHORD, PARTS, PITCHES, songOfBars } from "./voices.js";

const METER = [4, 4], // where a file's is none that BeepBox can have
  [FEWEST, MOST] = [3, 16], // beats of a bar
  [SLOWEST, FASTEST] = [30, 300],
  BARS = 128,
  LOWEST = 12; // MIDI's pitch of pitch 0
const GUESSES = [4, 3, 6, 8], // rhythms in the order in which they are tried
  CLOSE = 0.03; // beats by which notes may be off on average, for a rhythm to be right
// General MIDI's drums from 35 on as pitches of noise
const DRUMS = [
  ...[0, 0, 5, 4, 5, 4, 1, 8, 1, 8, 2, 8, 2, 3, 7, 3, 6, 7, 6, 11, 9, 7, 7, 10],
  ...[6, 3, 2, 3, 2, 1, 4, 3, 10, 9, 10, 10, 11, 11, 10, 10, 10, 9, 5, 4, 4, 11, 11],
];
const [FIRST_DRUM, OTHER_DRUM] = [35, 5];

/** A file as a song (see voices.js) of at most so many channels of pitches and of noise, and what is to be said of it. Throws
 * `BrokenMidi`. */
export function songOfMidi(midi, channels = 3, drums = 1) {
  if (!midi.notes.length) throw new BrokenMidi("has no notes");
  const remarks = midi.bends.length ? ["pitch bends are left out"] : [],
    odd = midi.meters.filter(([, ...meter]) => !beatsOf(meter)).map(([, over, under]) => `${over}/${under}`);
  if (odd.length) remarks.push(`bars of ${[...new Set(odd)].sort().join(", ")} are taken as 4/4`);
  const begins = meterMap(midi.meters.map(([tick, ...meter]) => [tick, ...(beatsOf(meter) ? meter : METER)])),
    held = withSustain(midi),
    seconds = clock(midi.tempos, midi.ticksPerBeat);
  const found = begins.flatMap(([start, meter], i) => {
    const end = begins[i + 1]?.[0] ?? Infinity,
      notes = held.filter((note) => note.start >= start && note.start < end);
    return notes.length ? stretch(midi.ticksPerBeat, seconds, notes, start, meter, channels, drums) : [];
  });
  const sum = (name) => found.reduce((total, one) => total + one[name], 0);
  if (sum("lost")) remarks.push(`notes that found no room on ${channels} + ${drums} channels: ${sum("lost")}`);
  if (sum("folded")) remarks.push(`notes that are played in another octave: ${sum("folded")}`);
  const { song } = found.reduce((best, one) => (one.song.bars > best.song.bars ? one : best));
  if (found.length > 1)
    remarks.push(
      `only ${song.bars} of its bars are taken: it has ${found.length} stretches (of another time signature, or of ${BARS} bars)`,
    );
  return [song, remarks];
}

/** Beats of a bar of BeepBox, and quarter notes of a beat; several bars are one where they are short. Null where there is
 * no such bar. */
function beatsOf([over, under]) {
  const quarters = (4 * over) / under;
  let [beats, unit] = Number.isInteger(quarters) ? [quarters, 1] : [over, 4 / under];
  while (beats < FEWEST) beats *= 2;
  return beats <= MOST ? [beats, unit] : null;
}

/** Notes in one time signature as songs of at most 128 bars, `{song, lost, folded}`. */
function stretch(ticksPerBeat, seconds, notes, start, meter, most, mostDrums) {
  const [beats, unit] = beatsOf(meter),
    tick = 1 / (ticksPerBeat * unit), // in beats
    rhythm = rhythmOf(notes.map((note) => (note.start - start) * tick));
  const bar = beats * rhythm,
    block = BARS * bar,
    stepOf = (at) => Math.floor((at - start) * tick * rhythm + 0.5);
  const rows = notes.map((note) => {
    const noise = note.channel === DRUM_CHANNEL,
      [pitch, folded] = valueOf(note.pitch, noise),
      step = stepOf(note.start),
      end = noise ? step + 1 : Math.max(stepOf(note.end), step + 1);
    return { step, end, pitch, folded, noise, part: note.track * 256 + note.channel };
  });
  const all = rows.reduce((last, { step }) => Math.max(last, Math.floor(step / bar) + 1), 0),
    blocks = [...new Set(rows.map(({ step }) => Math.floor(step / block)))].sort((a, b) => a - b);
  return blocks.map((number) => {
    const first = number * block,
      bars = Math.min(BARS, all - number * BARS),
      inside = rows.filter(({ step }) => Math.floor(step / block) === number);
    const own = inside.map((row) => ({ ...row, start: row.step - first, end: Math.min(row.end - first, bars * bar) }));
    const pitched = onChannels(own.filter(({ noise }) => !noise), most),
      noise = onChannels(own.filter((row) => row.noise), mostDrums),
      tuned = pitched.channels.length ? pitched.channels : [[]];
    const at = start + first / rhythm / tick,
      lasts = seconds(at + (bars * bar) / rhythm / tick) - seconds(at);
    const bpm = lasts > 0 ? Math.min(Math.max(rint((60 * bars * beats) / lasts), SLOWEST), FASTEST) : FASTEST,
      patterns = [...tuned, ...noise.channels].map((units) => barsOf(units, bars, bar, PARTS / rhythm));
    return {
      song: songOfBars(patterns, { pitched: tuned.length, beats, rhythm, bpm, key: 0, bars }),
      lost: pitched.lost + noise.lost,
      folded: inside.filter(({ folded }) => folded).length,
    };
  });
}

/** The first rhythm on which the notes lie, else the one on which they lie best. */
function rhythmOf(begin) {
  const late = GUESSES.map((rhythm) => {
    const off = Float64Array.from(begin, (at) => Math.abs(at - Math.floor(at * rhythm + 0.5) / rhythm));
    return pairwise(off, 0, off.length, (x) => x) / off.length;
  });
  return GUESSES.find((_, i) => late[i] <= CLOSE) ?? GUESSES[late.indexOf(Math.min(...late))];
}

/** A pitch of BeepBox, and whether it is in another octave. */
function valueOf(pitch, noise) {
  if (noise) return [DRUMS[pitch - FIRST_DRUM] ?? OTHER_DRUM, false];
  const tuned = pitch - LOWEST,
    top = PITCHES - 1;
  const inside = tuned < 0 ? tuned + 12 : tuned > top ? top - ((((top - tuned) % 12) + 12) % 12) : tuned;
  return [inside, inside !== tuned];
}

// Notes `{start, end, pitch, part}` become units `{start, end, pitches}`, chords of one channel; times in steps.

/** The notes on at most so many channels, from the highest to the lowest; how many found no room. */
function onChannels(notes, most) {
  if (!notes.length || !most) return { channels: [], lost: notes.length };
  const parts = merged(notes, most),
    needs = parts.map(overlap),
    lanes = parts.map(() => 1);
  let used = lanes.length;
  for (; used < most && needs.some((need, i) => need > lanes[i]); used++) {
    const room = needs.map((need, i) => need - lanes[i]);
    lanes[room.indexOf(Math.max(...room))]++;
  }
  const made = parts.map((part, i) => onLanes(part, lanes[i])),
    height = (units) => units.reduce((sum, { pitches }) => sum + pitches[0], 0) / units.length;
  const channels = made.flatMap(({ lanes: some }) => some).map((units) => [units, height(units)]);
  return {
    channels: channels.sort((a, b) => b[1] - a[1]).map(([units]) => units),
    lost: made.reduce((sum, { lost }) => sum + lost, 0),
  };
}

/** The notes of each part, at most so many parts: the smallest go with those that are nearest in pitch. */
function merged(notes, most) {
  const names = [...new Set(notes.map(({ part }) => part))].sort((a, b) => a - b);
  const about = names.map((name) => {
    const own = notes.filter(({ part }) => part === name);
    return { name, count: own.length, middle: own.reduce((sum, { pitch }) => sum + pitch, 0) / own.length };
  });
  about.sort((a, b) => b.count - a.count);
  const kept = about.slice(0, most),
    into = new Map(kept.map(({ name }, i) => [name, i]));
  for (const { name, middle } of about.slice(most)) {
    const far = kept.map((one) => Math.abs(one.middle - middle));
    into.set(name, far.indexOf(Math.min(...far)));
  }
  return kept.map((_, i) => notes.filter(({ part }) => into.get(part) === i));
}

/** How many chords (notes that begin and end together) sound at once, at most. */
function overlap(notes) {
  const spans = [...new Map(notes.map(({ start, end }) => [`${start} ${end}`, [start, end]])).values()],
    edges = spans.flatMap(([start, end]) => [[start, 1], [end, -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let sounding = 0,
    most = 0;
  for (const [, by] of edges) most = Math.max(most, (sounding += by));
  return most;
}

/** The notes of one part on so many channels, or fewer; how many are lost. */
function onLanes(notes, count) {
  const lanes = Array.from({ length: count }, () => []),
    chords = new Map();
  let lost = 0;
  for (const { start, end, pitch } of notes) {
    const key = `${start} ${end}`;
    if (!chords.has(key)) chords.set(key, { start, end, pitches: [] });
    chords.get(key).pitches.push(pitch);
  }
  for (const { start, end, pitches: all } of [...chords.values()].sort((a, b) => a.start - b.start || b.end - a.end)) {
    const own = [...new Set(all)].sort((a, b) => a - b);
    lost += all.length - own.length;
    for (let i = 0; i < own.length; i += CHORD) {
      const pitches = own.slice(i, i + CHORD),
        middle = pitches.reduce((a, b) => a + b) / pitches.length,
        free = lanes.filter((lane) => !lane.length || lane.at(-1).end <= start);
      const far = free.map((lane) => (lane.length ? Math.abs(lane.at(-1).pitches[0] - middle) : 24));
      if (free.length) free[far.indexOf(Math.min(...far))].push({ start, end, pitches });
      else lost += squeezed(lanes, start, end, pitches);
    }
  }
  return { lanes: lanes.filter((lane) => lane.length), lost };
}

/** A chord where no channel is free: it takes the place of what sounds longest, or goes to one that begins at the same
 * time; how many notes are lost. */
function squeezed(lanes, start, end, pitches) {
  if (lanes.every((lane) => lane.at(-1).start < start)) {
    const begun = lanes.map((lane) => lane.at(-1).start),
      lane = lanes[begun.indexOf(Math.min(...begun))];
    lane.at(-1).end = start;
    lane.push({ start, end, pitches });
    return 0;
  }
  const same = lanes.map((lane) => lane.at(-1)).filter((unit) => unit.start === start);
  let lost = 0;
  for (const pitch of pitches) {
    const room = same.find((unit) => unit.pitches.length < CHORD || unit.pitches.includes(pitch));
    if (!room || room.pitches.includes(pitch)) lost++;
    else room.pitches = [...room.pitches, pitch].sort((a, b) => a - b);
  }
  return lost;
}

/** The bars of a channel; a note over a bar line is tied. */
function barsOf(units, bars, bar, step) {
  const found = Array.from({ length: bars }, () => []);
  for (const { start, end, pitches } of units)
    for (let at = start; at < end; ) {
      const line = Math.floor(at / bar) * bar,
        until = Math.min(end, line + bar);
      found[line / bar].push({ start: (at - line) * step, end: (until - line) * step, pitches, continues: at > start });
      at = until;
    }
  return found;
}
