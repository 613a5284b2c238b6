// MIDI to a device (WebMIDI): hits on channel 10, with start, stop and the clock of 24 to a quarter note.

import { TICKS } from "./engine/midi.js";

const CHANNEL = 9,
  LENGTH_MS = 60,
  CLOCK = TICKS / 24;
const [NOTE_OFF, NOTE_ON, CONTROL] = [0x80, 0x90, 0xb0],
  [TICK, START, STOP] = [0xf8, 0xfa, 0xfc],
  ALL_OFF = 123;

export class MidiOut {
  constructor() {
    this.device = null;
  }

  /** The devices there are, `[{id, name}]`; the browser asks the user. Throws in words. */
  async devices() {
    if (!navigator.requestMIDIAccess) throw new Error("this browser has no MIDI; Chromium's kin and Firefox have");
    try {
      this.access = await navigator.requestMIDIAccess();
    } catch {
      throw new Error("the browser was not allowed to use MIDI");
    }
    return [...this.access.outputs.values()].map(({ id, name }) => ({ id, name: name || id }));
  }

  /** Play on the device with this id; "" is none. */
  choose(id) {
    this.stop();
    this.device = (id && this.access?.outputs.get(id)) || null;
  }

  start(ms) {
    this.device?.send([START], ms);
  }

  stop() {
    if (!this.device) return;
    this.device.clear?.();
    this.device.send([STOP]);
    this.device.send([CONTROL + CHANNEL, ALL_OFF, 0]);
  }

  /** The clocks of the ticks from `from` to before `until`; `ms(tick)` is when one is due. */
  clocks(from, until, ms) {
    if (!this.device) return;
    for (let tick = Math.ceil(from / CLOCK) * CLOCK; tick < until; tick += CLOCK) this.device.send([TICK], ms(tick));
  }

  hit([pitch, velocity], ms) {
    this.device.send([NOTE_ON + CHANNEL, pitch, velocity], ms);
    this.device.send([NOTE_OFF + CHANNEL, pitch, 0], ms + LENGTH_MS);
  }
}
