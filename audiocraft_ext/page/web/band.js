// Pieces and songs as sound: pitched parts by the plain waves of audiocraft_ext/midi/waves.py, drums by the kit.

import { Beats, RATE, render } from "./kit.js";
import { TICKS } from "./engine/midi.js";
import { MidiOut } from "./midi_out.js";

const LEVEL = 0.9, // of all waves together, before they are kept from clipping
  KIT = 1.5, // drums beside them, as audiocraft_ext/midi/band.py has it
  TAIL = 2, // s that a file's last notes ring on, into its start
  FALL = Math.log(1e5); // time constants of 100 dB

/** A note's wave as an oscillator takes it: overtones that fall off, whose phases lie apart. */
function waveOf(ctx, { slope, even }, overtones, loud) {
  const real = new Float32Array(overtones + 1),
    imag = new Float32Array(overtones + 1);
  let power = 0;
  for (let n = 1; n <= overtones; n++) {
    const part = n ** -slope * (n % 2 ? 1 : even);
    real[n] = part * Math.sin(n * n);
    imag[n] = part * Math.cos(n * n);
    power += part ** 2 / 2;
  }
  const scale = loud / Math.sqrt(power),
    scaled = (values) => values.map((value) => value * scale);
  return ctx.createPeriodicWave(scaled(real), scaled(imag), { disableNormalization: true });
}

/** Plays pitched notes in a context, live or not. `general` is what instruments.json says under `general_midi`. */
class Waves {
  constructor(ctx, general) {
    Object.assign(this, { ctx, general, waves: new Map(), sounding: new Set() });
    this.out = ctx.createGain();
    this.out.gain.value = LEVEL;
  }

  note(program, pitch, velocity, when, seconds) {
    const { ctx, general } = this,
      family = program >> 3,
      voice = general.voices[family],
      register = general.registers.findIndex(([, last]) => pitch <= last),
      key = 3 * family + register;
    if (!this.waves.has(key)) this.waves.set(key, waveOf(ctx, voice, general.registers[register][2], general.loud));
    const source = ctx.createOscillator(),
      envelope = ctx.createGain(),
      release = ctx.createGain(),
      level = (velocity / 127) ** 2;
    source.setPeriodicWave(this.waves.get(key));
    source.frequency.value = 440 * 2 ** ((pitch - 69) / 12);
    envelope.gain.setValueAtTime(0, when);
    envelope.gain.linearRampToValueAtTime(level, when + voice.attack);
    if (voice.decay) envelope.gain.setTargetAtTime(0, when + voice.attack, voice.decay / FALL);
    release.gain.setTargetAtTime(0, when + seconds, voice.release / FALL);
    source.connect(envelope).connect(release).connect(this.out);
    source.start(when);
    source.stop(when + seconds + voice.release);
    this.sounding.add(source);
    source.onended = () => this.sounding.delete(source);
  }

  stop() {
    for (const source of this.sounding) source.stop();
  }
}

/** As `Beats`, with notes `[tick, pitch, velocity, length, program]`; a program of null is drums. */
export class Band extends Beats {
  constructor(score, onchange, general) {
    super(score, onchange, new MidiOut());
    this.general = general;
  }

  hit([pitch, velocity, length, program], when, tickS) {
    if (program === null) super.hit([pitch, velocity], when);
    else this.live().note(program, pitch, velocity, when, length * tickS);
  }

  live() {
    if (this.waves?.ctx !== this.ctx) {
      this.waves = new Waves(this.ctx, this.general);
      const limit = new DynamicsCompressorNode(this.ctx, { threshold: -12, ratio: 8, attack: 0.003, release: 0.15 });
      this.waves.out.connect(limit).connect(this.ctx.destination);
    }
    return this.waves;
  }

  stop() {
    super.stop();
    this.waves?.stop();
  }

  /** All of it as a loop, `Float32Array [N]` at `RATE`. */
  async rendered() {
    const { notes, bpm, ticks } = this.beat(),
      tickS = 60 / bpm / TICKS,
      drums = notes.filter(([, , , , program]) => program === null);
    const out = render(await this.ready(), { notes: drums, bpm, ticks }).map((x) => KIT * x),
      ctx = new OfflineAudioContext(1, out.length + TAIL * RATE, RATE),
      waves = new Waves(ctx, this.general);
    waves.out.connect(ctx.destination);
    for (const [tick, pitch, velocity, length, program] of notes)
      if (program !== null) waves.note(program, pitch, velocity, tick * tickS, length * tickS);
    const tuned = (await ctx.startRendering()).getChannelData(0);
    for (let i = 0; i < tuned.length; i++) out[i % out.length] += tuned[i];
    return out;
  }
}
