// Reads songs with BeepBox's own class: lines of JSON texts (a URL's digits, or a JSON) in, a line of each song out.
import fs from "node:fs";
import {Song} from "../data/beepbox/beepbox.mjs";

const told = fs.readFileSync(0, "utf8").split("\n").filter(Boolean).map(line => {
  const song = new Song(JSON.parse(line));
  return JSON.stringify({
    facts: [song.beatsPerBar, song.rhythm, song.tempo, song.key, song.scale, song.loopStart, song.loopLength],
    pitched: song.pitchChannelCount,
    channels: song.channels.map(channel => ({
      octave: channel.octave, sequence: channel.bars, instruments: channel.instruments.length,
      patterns: channel.patterns.map(pattern => pattern.notes.map(note => [
        note.start, note.pitches, note.pins.map(pin => [pin.time, pin.interval, pin.size]), note.continuesLastPattern,
      ])),
    })),
    digits: song.toBase64String(), json: JSON.stringify(song.toJsonObject()),
  });
});
fs.writeSync(1, told.join("\n") + "\n");
