// The drum grid, and beats as MIDI: the twins of drums/codec/grid.py and drums/midi.py.

import { DRUMS, HIT, midiBytes, noteEvents, TICKS, timeEvents } from "./midi.js";

const STEPS = [12, 16, 24, 32, 48]; // a bar of 4/4

/** What `codec` of model.json says, with the sizes that follow. */
export class DrumGrid {
  constructor({ map, steps, velocities, offsets }) {
    this.classes = map.classes;
    Object.assign(this, {
      steps,
      velocities,
      offsets,
      onStep: Math.floor(offsets / 2),
      stepTicks: (4 * TICKS) / steps,
    });
    const others = map.classes.findIndex(({ name }) => name === map.unmapped);
    this.classOf = new Array(128).fill(others); // of each pitch; -1 is dropped
    map.classes.forEach(({ pitches }, i) => pitches.forEach((pitch) => (this.classOf[pitch] = i)));
  }

  barSteps([over, under]) {
    const steps = (this.steps * over) / under;
    if (Number.isInteger(steps) && steps >= 1) return steps;
    const fit = STEPS.filter((n) => (n * over) % under === 0 && n * over >= under).join(", ");
    throw new Error(
      `a bar of ${over}/${under} does not end on a step of a grid with ${this.steps} steps to 4/4; ` +
        (fit ? `one with ${fit} has it` : "no grid has it"),
    );
  }

  /** The hits of codes: `{step, drum, velocity, offset}` as codes, by step, then class. */
  hits(codes) {
    const C = this.classes.length,
      found = [];
    for (let step = 0; step < codes[0].length; step++)
      for (let drum = 0; drum < C; drum++)
        if (codes[drum][step]) found.push({ step, drum, velocity: codes[drum][step], offset: codes[C + drum][step] });
    return found;
  }

  /** Codes of so many steps in which nothing is played. */
  empty(steps) {
    const C = this.classes.length;
    return Array.from({ length: 2 * C }, (_, k) => new Int32Array(steps).fill(k < C ? 0 : this.onStep));
  }

  /** 1 to 127, the middle of a velocity's bin. */
  loudness(velocity) {
    const edge = (code) => Math.ceil((127 * code) / this.velocities);
    return Math.floor((edge(velocity - 1) + 1 + edge(velocity)) / 2);
  }

  /** The bin of a velocity from 1 to 127. */
  velocityCode(velocity) {
    return 1 + Math.floor(((velocity - 1) * this.velocities) / 127);
  }

  ticks({ step, offset }) {
    const shift = 2 * (offset - this.onStep) * this.stepTicks + this.offsets;
    return Math.max(step * this.stepTicks + Math.floor(shift / (2 * this.offsets)), 0);
  }

  /** `[tick, pitch, velocity]` of each hit, in order. */
  notes(codes) {
    return this.notesOf(this.hits(codes));
  }

  notesOf(hits) {
    const notes = hits.map((hit) => [
      this.ticks(hit),
      this.classes[hit.drum].write,
      this.loudness(hit.velocity),
    ]);
    return notes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  }

  /** Notes `[tick, pitch, velocity]`, ascending, as hits by step and class, each with the place of its `note`; of those of a
   * class in one step the loudest stays, of two as loud the first. */
  quantise(notes, ticksPerBeat) {
    const whole = 4 * ticksPerBeat, // a step is whole / steps: all in integers
      found = new Map();
    notes.forEach(([tick, pitch, loudness], note) => {
      const at = tick * this.steps,
        step = Math.floor((2 * at + whole) / (2 * whole)),
        offset = Math.floor(((2 * (at - step * whole) + whole) * this.offsets) / (2 * whole)),
        drum = this.classOf[pitch],
        key = step * this.classes.length + drum;
      if (drum < 0 || loudness <= (found.get(key)?.loudness ?? 0)) return;
      found.set(key, { step, drum, velocity: this.velocityCode(loudness), offset, note, loudness });
    });
    return [...found.values()].sort((a, b) => a.step - b.step || a.drum - b.drum);
  }

  /** The hits within a clip `{notes, ticksPerBeat, meter, bars}`. */
  inside({ notes, ticksPerBeat, meter, bars }) {
    const end = bars * this.barSteps(meter);
    return this.quantise(notes, ticksPerBeat).filter(({ step }) => step >= 0 && step < end);
  }

  /** Codes of a clip: of its hits as they are written, for what is before the first bar line is on it then. */
  encode(clip) {
    const codes = this.empty(clip.bars * this.barSteps(clip.meter)),
      C = this.classes.length;
    for (const { step, drum, velocity, offset } of this.quantise(this.notesOf(this.inside(clip)), TICKS)) {
      codes[drum][step] = velocity;
      codes[C + drum][step] = offset;
    }
    return codes;
  }

  /** See words.js. */
  pattern(codes, meter) {
    const hits = this.hits(codes),
      barSteps = this.barSteps(meter);
    return {
      step: hits.map((hit) => hit.step),
      drum: hits.map((hit) => hit.drum),
      velocity: hits.map((hit) => this.loudness(hit.velocity)),
      offset: hits.map((hit) => (hit.offset - this.onStep) / this.offsets),
      bars: Math.max(1, Math.ceil(codes[0].length / barSteps)),
      barSteps,
      beatSteps: this.steps / 4,
    };
  }
}

/** Notes `[tick, pitch, velocity]` as a MIDI file of type 0 on channel 10, `Uint8Array`. */
export function midi(notes, bpm, meter, bars) {
  const end = Math.floor((bars * TICKS * 4 * meter[0]) / meter[1]),
    hits = lengths(notes, end).map(([start, stop, ...hit]) => noteEvents(DRUMS, [start, stop, ...hit]));
  return midiBytes([[...timeEvents(bpm, meter), ...hits.flat()]], end);
}

/** Each hit with its end: after 60 ticks, at the next of its pitch, or with the last bar. */
function lengths(notes, last) {
  const loudest = new Map();
  for (const [tick, pitch, velocity] of notes) {
    const key = pitch * 2 ** 32 + tick;
    loudest.set(key, Math.max(velocity, loudest.get(key) ?? 0));
  }
  const order = [...loudest.keys()]
    .sort((a, b) => a - b)
    .map((key) => [Math.floor(key / 2 ** 32), key % 2 ** 32, loudest.get(key)]);
  const found = order.map(([pitch, tick, velocity], i) => {
    const [other, following] = order[i + 1] ?? [-1, 0];
    const end = other === pitch ? Math.min(tick + HIT, following) : tick + HIT;
    return [tick, tick < last ? Math.min(end, last) : end, pitch, velocity];
  });
  return found.sort((a, b) => a[0] - b[0] || a[2] - b[2]);
}
