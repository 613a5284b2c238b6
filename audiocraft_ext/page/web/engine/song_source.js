// From a MIDI file to the codes of a song: the twin of audiocraft_ext/songs/play/source.py, of such files.

import { parse } from "./midi_file.js";
import { songOfMidi } from "./midi_song.js";
import { songRecipe } from "./songs.js";
import { barFrames, codesOf } from "./voices.js";

/** A MIDI file's bytes as a clip, `{recipe, index, codes}`, up to the last bar with a note, and what is to be said of it,
 * `remarks`. Throws `BrokenMidi`. */
export function sketchOf(info, bytes) {
  const [song, remarks] = songOfMidi(parse(bytes)),
    { channels, pitched, beats, rhythm, bpm, key } = song;
  const bars = channels.reduce((last, { sequence }) => Math.max(last, 1 + sequence.findLastIndex(Boolean)), 0),
    facts = { bars, beats, rhythm, bpm, key, channels: pitched, drums: channels.length - pitched };
  const codes = codesOf(song).map((row) => row.slice(0, bars * barFrames(facts)));
  return { recipe: songRecipe(info, { ...facts, seed: 0n, source: codes }), index: 0, codes, remarks };
}
