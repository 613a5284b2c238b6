// Songs of BeepBox as codes, 4 arrays [T], and as the song that it has: the twins of songs/codec/voices.py and of what of
// songs/beepbox/song.py a model's songs need: no bends, all as loud as can be.

export const PARTS = 24; // of a beat
export const RHYTHMS = [3, 4, 6, 8, 24]; // steps a beat
export const KEYS = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
export const CHORD = 4; // pitches of a note
export const PITCHES = 85; // values of a pitch
export const HITS = 12; // of a pitch of noise
const VALUES = PITCHES + HITS,
  HOLD = 1,
  FIRST = [2, 1, 1, 1], // the code of pitch 0, by voice
  OCTAVES = 7,
  PITCH_CHANNELS = 10,
  LAST_PLACE = 98; // the last step of a bar that has a code

/** Frames of a bar of a recipe. */
export const barFrames = ({ beats, rhythm, channels, drums }) => beats * rhythm * (channels + drums);

/** Which step of the bar and which channel each frame is, 2 arrays [frames] from a bar on: the twin of
 * songs/places.py. */
export function placesOf({ beats, rhythm, channels, drums }, frames) {
  const C = channels + drums,
    rows = [new Int32Array(frames), new Int32Array(frames)];
  for (let t = 0; t < frames; t++) {
    const place = (Math.floor(t / C) % (beats * rhythm)) + 1,
      channel = t % C;
    rows[0][t] = place <= LAST_PLACE ? place : 0;
    rows[1][t] = channel < channels ? 1 + channel : 1 + PITCH_CHANNELS + channel - channels;
  }
  return rows;
}

/** A song of any codes: `{channels, beats, rhythm, bpm, key, bars}`, a channel `{patterns, sequence, noise, octave}`, a
 * pattern a list of notes `{start, end, pitches, continues}`, times in parts from the start of the bar. */
export function songOf(codes, recipe) {
  const { beats, rhythm, channels: pitched, drums, bpm, key = 0 } = recipe,
    C = pitched + drums;
  const bars = Math.max(1, Math.ceil(codes[0].length / barFrames(recipe))),
    steps = bars * beats * rhythm;
  const found = Array.from({ length: C }, (_, c) => {
    const rows = Array.from({ length: steps }, (_, s) => codes.map((row) => row[s * C + c] ?? 0));
    return patternsOf(barsOf(rows, beats * rhythm, PARTS / rhythm, c >= pitched));
  });
  return songOfPatterns(found, { pitched, beats, rhythm, bpm, key, bars });
}

/** A song of each channel's bars, those of pitches first; `facts` are all the rest of it. */
export const songOfBars = (channels, facts) => songOfPatterns(channels.map(patternsOf), facts);

function songOfPatterns(found, facts) {
  const { pitched } = facts,
    most = Math.max(1, ...found.map(({ patterns }) => patterns.length));
  const channels = found.map(({ patterns, sequence }, c) => ({
    patterns: [...patterns, ...Array.from({ length: most - patterns.length }, () => [])],
    sequence,
    noise: c >= pitched,
    octave: c >= pitched ? 0 : octaveOf(patterns),
  }));
  return { channels, ...facts };
}

/** Steps a beat on which all notes that are played begin and end: the song's own, else the fewest. */
export function rhythmOf(channels, own) {
  const edges = new Set(
    channels.flatMap(({ patterns, sequence }) =>
      [...new Set(sequence)].flatMap((number) => (patterns[number - 1] ?? []).flatMap(({ start, end }) => [start, end])),
    ),
  );
  return [own, ...RHYTHMS].find((rhythm) => [...edges].every((part) => (part * rhythm) % PARTS === 0));
}

/** Throws in words unless a song has such channels. */
export function checkedChannels(pitched, drums) {
  if (pitched < 1 || pitched > PITCH_CHANNELS || drums > 5)
    throw new Error(
      `a song of BeepBox has 1 to ${PITCH_CHANNELS} pitch channels and up to 5 noise channels, got ${pitched} and ${drums}`,
    );
}

/** The codes of a song whose notes lie on the steps of its rhythm. */
export function codesOf({ channels, beats, rhythm, bars }) {
  const C = channels.length,
    steps = beats * rhythm,
    codes = Array.from({ length: CHORD }, () => new Int32Array(bars * steps * C));
  channels.forEach(({ patterns, sequence, noise }, c) => {
    let before = null;
    sequence.forEach((number, bar) => {
      const notes = number ? patterns[number - 1] : [],
        frame = (part) => (bar * steps + (part * rhythm) / PARTS) * C + c;
      for (const { start, end, pitches, continues } of notes) {
        for (let at = frame(start); at < frame(end); at += C) codes[0][at] = HOLD;
        if (continues && before && same(before.pitches, pitches)) continue;
        pitches.forEach((pitch, voice) => (codes[voice][frame(start)] = FIRST[voice] + (noise ? PITCHES : 0) + pitch));
      }
      before = notes.at(-1)?.end === beats * PARTS ? notes.at(-1) : null;
    });
  });
  return codes;
}

/** The bars of a channel's frames, each a list of notes. */
function barsOf(rows, perBar, step, noise) {
  const bars = [];
  let pitches = []; // that sound
  for (let at = 0; at < rows.length; at += perBar) {
    const notes = [];
    let begin = 0,
      tied = pitches.length > 0;
    for (let i = 0; i <= perBar; i++) {
      const frame = i < perBar ? rows[at + i] : [0];
      if (frame[0] === HOLD) continue;
      if (pitches.length && i > begin) notes.push({ start: begin * step, end: i * step, pitches, continues: tied });
      if (i < perBar) [pitches, begin, tied] = [pitchesOf(frame, noise), i, false];
    }
    bars.push(notes);
  }
  return bars;
}

/** Of a frame that holds nothing: those of its sort of channel, none if the first is not. */
function pitchesOf([first, ...others], noise) {
  const [low, high] = noise ? [PITCHES, VALUES] : [0, PITCHES],
    inside = (value) => low <= value && value < high;
  if (first < FIRST[0] || !inside(first - FIRST[0])) return [];
  const end = others.indexOf(0),
    values = others.slice(0, end < 0 ? others.length : end).map((code, voice) => code - FIRST[voice + 1]);
  return [...new Set([first - FIRST[0], ...values].filter(inside).map((value) => value - low))];
}

/** Each bar that is not empty once, in the order in which they come; of each bar its number, 0 for a rest. */
function patternsOf(bars) {
  const number = new Map(),
    patterns = [];
  const sequence = bars.map((bar) => {
    if (!bar.length) return 0;
    const key = JSON.stringify(bar);
    if (!number.has(key)) number.set(key, patterns.push(bar));
    return number.get(key);
  });
  return { patterns, sequence };
}

/** The middle pitch of a channel's patterns; `none` where there is no note. */
export function middleOf(patterns, none) {
  const pitches = patterns.flatMap((pattern) => pattern.flatMap((note) => note.pitches)).sort((a, b) => a - b);
  return pitches.length ? pitches[pitches.length >> 1] : none;
}

/** The one that shows most of a channel's notes, of the three that are seen at once. */
function octaveOf(patterns) {
  const middle = middleOf(patterns, null);
  return middle === null ? OCTAVES >> 1 : Math.min(Math.max(Math.floor(middle / 12) - 1, 0), OCTAVES - 1);
}

/** The notes of a channel, `{start, length, pitches}` in parts of the song: what is tied over a bar line is one. */
export function sounding({ patterns, sequence }, barParts) {
  const notes = [];
  sequence.forEach((number, bar) => {
    for (const note of number ? patterns[number - 1] : []) {
      const start = bar * barParts + note.start,
        before = notes.at(-1);
      if (note.continues && before && before.start + before.length === start && same(before.pitches, note.pitches))
        before.length += note.end - note.start;
      else notes.push({ start, length: note.end - note.start, pitches: note.pitches });
    }
  });
  return notes;
}

const same = (a, b) => a.length === b.length && a.every((pitch, i) => pitch === b[i]);
