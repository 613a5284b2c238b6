// The drum kit that ships, one-shots of the user's in it, and beats played with it: as audiocraft_ext/midi/kit.py plays them.

import { TICKS } from "./engine/midi.js";
import { rint } from "./engine/numbers.js";
import { context } from "./player.js";

export const RATE = 44100;
const CHOKE = 0.012,
  AHEAD = 0.15,
  EVERY = 40; // s, s, ms

/** The kit's hits by pitch, decoded. `own`, by pitch too, are sounds that are played instead. */
export async function loadKit(own = new Map(), folder = "kit/") {
  const kit = await (await fetch(`${folder}kit.json`)).json(),
    hits = new Map();
  const read = async (file) =>
    new OfflineAudioContext(1, 1, RATE).decodeAudioData(await (await fetch(folder + file)).arrayBuffer());
  await Promise.all(
    Object.values(kit.hits).map(async (hit) => {
      const layers = await Promise.all(
        hit.layers.map(async (layer) => ({ from: layer.from, buffer: await read(layer.file) })),
      );
      layers.sort((a, b) => a.from - b.from);
      for (const pitch of hit.pitches)
        hits.set(pitch, { gain: 10 ** (hit.gain_db / 20), choke: hit.choke || "", layers });
    }),
  );
  return { hits, own, velocityDb: kit.velocity_db };
}

/** What a hit sounds with: `{buffer, loud, choke}`, null where the kit has nothing for it. */
function voice(kit, pitch, velocity) {
  const hit = kit.hits.get(pitch),
    mine = kit.own.get(pitch);
  if (!hit && !mine) return null;
  const layer = hit?.layers.filter(({ from }) => from <= Math.max(velocity, hit.layers[0].from)).at(-1);
  const loud = (mine ? 1 : hit.gain) * 10 ** ((kit.velocityDb * (Math.min(velocity / 127, 1) - 1)) / 20);
  return { buffer: mine || layer.buffer, loud, choke: hit?.choke || "" };
}

/** A beat's sound as a loop, `Float32Array [N]` at `RATE`: `{notes, bpm, ticks}` as `Beats` has it. What rings on behind
 * its end is mixed into its start, as in audiocraft_ext/drums/play/render.py. */
export function render(kit, { notes, bpm, ticks }) {
  const scale = (60 / bpm / TICKS) * RATE,
    samples = Math.max(1, rint(ticks * scale)),
    fade = Math.round(CHOKE * RATE);
  const voices = notes
    .map(([tick, pitch, velocity]) => ({ at: rint(tick * scale), ...voice(kit, pitch, velocity) }))
    .filter(({ at, buffer }) => buffer && at < samples);
  const out = new Float32Array(samples);
  for (const { at, buffer, loud, choke } of voices) {
    const sound = buffer.getChannelData(0),
      next = voices.filter((other) => choke && other.choke === choke).map((other) => (other.at > at ? 0 : samples) + other.at - at);
    const end = Math.min(...next) + fade,
      length = Math.min(sound.length, end);
    for (let i = 0; i < length; i++) {
      const left = end < sound.length && end - i <= fade ? (end - i - 1) / (fade - 1) : 1;
      out[(at + i) % samples] += Math.fround(loud) * sound[i] * left;
    }
  }
  return out;
}

export class Beats {
  /** `beat()` is asked again and again: `{notes: [tick, pitch, velocity, ...], bpm, ticks}`, the last the whole length. `out`
   * is a MidiOut; where it has a device, that plays instead of the kit. */
  constructor(beat, onchange, out) {
    Object.assign(this, { beat, onchange, out, playing: false, kit: null, own: new Map(), sounding: [] });
  }

  /** The kit, read when it is first needed. */
  async ready() {
    return (this.kit ??= await loadKit(this.own));
  }

  /** One hit, now. */
  async hear(pitch, velocity = 100) {
    this.ctx = context(RATE);
    this.sound(voice(await this.ready(), pitch, velocity), this.ctx.currentTime + 0.01);
  }

  async start() {
    const ctx = context(RATE);
    if (!this.out.device) await this.ready();
    if (this.playing) return;
    Object.assign(this, {
      ctx,
      playing: true,
      tick: 0,
      at: ctx.currentTime + 0.06,
      marks: [],
    });
    this.out.start(this.clock(this.at));
    this.timer = setInterval(() => this.ahead(), EVERY);
    this.ahead();
    this.onchange(true);
  }

  stop() {
    if (!this.playing) return;
    clearInterval(this.timer);
    this.playing = false;
    for (const { source } of this.sounding) source.stop();
    this.out.stop();
    this.onchange(false);
  }

  /** A time of the sound's clock on the page's, in ms. */
  clock(when) {
    return performance.now() + 1000 * (when - this.ctx.currentTime);
  }

  /** Put what is due within `AHEAD` seconds on its way. */
  ahead() {
    while (this.at < this.ctx.currentTime + AHEAD) {
      const { notes, bpm, ticks } = this.beat(),
        tickS = 60 / bpm / TICKS;
      if (this.tick >= ticks) this.tick = 0;
      const until = Math.min(ticks, this.tick + Math.max(1, Math.round(AHEAD / 2 / tickS)));
      const when = (tick) => this.at + (tick - this.tick) * tickS;
      this.marks.push({ at: this.at, tick: this.tick, tickS });
      for (const [tick, ...hit] of notes) if (tick >= this.tick && tick < until) this.hit(hit, when(tick), tickS);
      this.out.clocks(this.tick, until, (tick) => this.clock(when(tick)));
      this.at += (until - this.tick) * tickS;
      this.tick = until;
    }
    this.marks = this.marks.filter((mark, i, all) => !all[i + 1] || all[i + 1].at > this.ctx.currentTime);
  }

  hit([pitch, velocity], when) {
    if (this.out.device) this.out.hit([pitch, velocity], this.clock(when));
    else if (this.kit) this.sound(voice(this.kit, pitch, velocity), when);
  }

  sound(voice, when) {
    if (!voice) return;
    const { buffer, loud, choke } = voice,
      source = this.ctx.createBufferSource(),
      gain = this.ctx.createGain();
    gain.gain.setValueAtTime(loud, when);
    source.buffer = buffer;
    source.connect(gain).connect(this.ctx.destination);
    source.start(when);
    for (const other of this.sounding.filter((one) => choke && one.choke === choke && one.when < when && !one.choked)) {
      other.gain.gain.setValueAtTime(other.loud, when);
      other.gain.gain.linearRampToValueAtTime(0, when + CHOKE);
      other.choked = true;
    }
    const one = { source, gain, when, loud, choke };
    this.sounding.push(one);
    source.onended = () => {
      this.sounding = this.sounding.filter((other) => other !== one);
    };
  }

  /** The tick that is heard now; null when nothing plays. */
  position() {
    if (!this.playing) return null;
    const now = this.ctx.currentTime,
      mark = this.marks.filter((one) => one.at <= now).at(-1);
    return mark ? mark.tick + (now - mark.at) / mark.tickS : null;
  }
}
