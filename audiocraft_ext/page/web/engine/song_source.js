// From a file to the codes of a song: the twin of audiocraft_ext/songs/play/source.py, of MIDI files and of BeepBox's
// JSON and URLs.

import { songOfJson } from "./beepbox_read.js";
import { songOfUrl } from "./beepbox_url.js";
import { parse } from "./midi_file.js";
import { songOfMidi } from "./midi_song.js";
import { songRecipe } from "./songs.js";
import { barFrames, codesOf } from "./voices.js";

/** A file's bytes as a clip, `{recipe, index, codes}`, up to the last bar with a note, and what is to be said of it,
 * `remarks`. Throws an Error in words. */
export function sketchOf(info, bytes) {
  const [song, remarks] = songIn(bytes),
    { channels, pitched, beats, rhythm, bpm, key } = song;
  const last = channels.map(({ patterns, sequence }) => sequence.findLastIndex((number) => patterns[number - 1]?.length)),
    bars = 1 + Math.max(...last);
  if (!bars) throw new Error("has no notes");
  const facts = { bars, beats, rhythm, bpm, key, channels: pitched, drums: channels.length - pitched },
    codes = codesOf(song).map((row) => row.slice(0, bars * barFrames(facts)));
  return { recipe: songRecipe(info, { ...facts, seed: 0n, source: codes }), index: 0, codes, remarks };
}

function songIn(bytes) {
  const text = new TextDecoder().decode(bytes.subarray(0, 4));
  if (text === "MThd" || text === "RIFF") return songOfMidi(parse(bytes));
  const words = new TextDecoder().decode(bytes).trim().replace(/^[# ]+/, "");
  if (words.startsWith("{")) return songOfJson(words);
  const url = ["#", "://"].map((mark) => words.split(/\s+/).find((line) => line.includes(mark))).find(Boolean);
  if (url) return [songOfUrl(url), []];
  return songOfMidi(parse(bytes));
}
