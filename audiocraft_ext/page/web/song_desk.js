// What the view of scores has to know of BeepBox's songs: their settings, how one goes on, its notes, files and URL.

import { factsOf, heardOf } from "./begin_view.js";
import { field, make, seedOf } from "./dom.js";
import { longer, songFiles, songRecipe, songStem, tracksOf } from "./engine/songs.js";
import { TICKS } from "./engine/midi.js";
import { barFrames, KEYS, RHYTHMS, songOf } from "./engine/voices.js";
import { jsonFile, midiFile } from "./files.js";
import { list, number, temperatureOf, twoPlaces } from "./knobs.js";

export class SongDesk {
  static texts = { kind: "song", one: "song", heading: "A song for BeepBox", list: "Songs" };
  static begin = {
    id: "song",
    legend: "Begin with a song: drop a MIDI file, BeepBox's JSON or its link anywhere on the page",
    label: "A song to begin with",
    accept: ".json,.url,.txt,.mid,.midi,.rmi,.kar,audio/midi",
    expected: "expected a MIDI file (.mid), the JSON that BeepBox saves with File, Export Song, or its link",
    sounds: "the tab Sampler begins with a sound",
  };

  constructor(info) {
    this.info = info;
    this.numbers = {
      channels: number(3, 1, 10, 1),
      drums: number(1, 0, 5, 1),
      beats: number(4, 3, 16, 1),
      bars: number(8, 1, 128, 1),
      bpm: number(120, 30, 300, 1),
    };
    this.rhythm = list(RHYTHMS.map(String), "4");
    this.key = list(KEYS.map((name, i) => [String(i), name]));
    this.seed = make("input", { inputmode: "numeric", placeholder: "random", autocomplete: "off", id: "song-seed" });
    this.temperature = temperatureOf(info);
    this.n = number(1, 1, 32, 1);
    this.n.id = "song-n";
    const { channels, drums, beats, bars, bpm } = this.numbers;
    this.element = make(
      "div",
      { class: "fields" },
      field("Channels", channels),
      field("Channels of drums", drums),
      field("Steps a beat", this.rhythm),
      field("Beats a bar", beats),
      field("Bars", bars),
      field("Tempo, BPM", bpm),
      field("Key", this.key),
      field("Seed", this.seed),
      field("Temperature", this.temperature, twoPlaces),
      field("How many", this.n),
    );
  }

  get many() {
    return this.n.valueAsNumber;
  }

  show({ recipe }) {
    for (const [name, input] of Object.entries(this.numbers)) input.value = recipe[name];
    this.rhythm.value = recipe.rhythm;
    this.key.value = recipe.key || 0;
  }

  /** What is asked for. Throws in words. */
  asked() {
    return {
      ...Object.fromEntries(Object.entries(this.numbers).map(([name, input]) => [name, input.valueAsNumber])),
      rhythm: Number(this.rhythm.value),
      key: Number(this.key.value),
      seed: seedOf(this.seed.value),
      sampling: { temperature: Number(this.temperature.value) },
    };
  }

  recipe(asked) {
    return songRecipe(this.info, asked);
  }

  /** What begin_view.js asks for. */
  async heard(bytes) {
    const { sketchOf } = await import("./engine/song_source.js"),
      clip = sketchOf(this.info, bytes),
      { bars, channels, drums } = clip.recipe;
    clip.remarks.push(...heardOf(this.info, bars, barFrames(clip.recipe)));
    return { ...clip, about: `${factsOf(clip.recipe)} on ${channels} + ${drums} channels` };
  }

  /** As in piece_desk.js. */
  get changes() {
    return [[["song-more", "4 bars more", (clip) => longer(clip, this.asked())]]];
  }

  picture({ recipe, codes }) {
    const song = songOf(codes, recipe),
      tracks = tracksOf(song).filter(({ notes }) => notes.length);
    return {
      notes: tracks.flatMap(({ notes }, i) => notes.map(([start, end, ...rest]) => [start, end - start, i, ...rest])),
      parts: tracks.map(({ name, noise, program }) => ({ name, drums: noise, program: noise ? null : program })),
      bars: song.bars,
      barTicks: song.beats * TICKS,
      beatTicks: TICKS,
      bpm: song.bpm,
    };
  }

  stem = songStem;

  files(clip, stem) {
    const { midi, json, song, url } = songFiles(this.info, clip, stem);
    return {
      midi: midiFile(stem, midi),
      json: jsonFile(stem, json),
      song: jsonFile(`${stem}.beepbox`, song),
      url,
    };
  }
}
