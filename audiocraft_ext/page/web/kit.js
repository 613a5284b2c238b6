// The drum kit that ships, and beats played with it, round and round: as audiocraft_ext/midi/kit.py plays them.

import { TICKS } from "./engine/grid.js";
import { context } from "./player.js";

const RATE = 44100,
  CHOKE = 0.012,
  AHEAD = 0.15,
  EVERY = 40; // s, s, ms

/** The kit's hits by pitch, decoded. */
export async function loadKit(folder = "kit/") {
  const kit = await (await fetch(`${folder}kit.json`)).json(),
    ctx = context(RATE),
    hits = new Map();
  const read = async (file) => ctx.decodeAudioData(await (await fetch(folder + file)).arrayBuffer());
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
  return { hits, velocityDb: kit.velocity_db };
}

export class Beats {
  /** `beat()` is asked again and again: `{notes: [tick, pitch, velocity], bpm, ticks}`, the last the whole length. */
  constructor(beat, onchange) {
    Object.assign(this, { beat, onchange, playing: false, kit: null });
  }

  async start() {
    const ctx = context(RATE);
    this.kit ??= await loadKit();
    if (this.playing) return;
    Object.assign(this, {
      ctx,
      playing: true,
      tick: 0,
      at: ctx.currentTime + 0.06,
      sounding: [],
      open: new Map(),
      marks: [],
    });
    this.timer = setInterval(() => this.ahead(), EVERY);
    this.ahead();
    this.onchange(true);
  }

  stop() {
    if (!this.playing) return;
    clearInterval(this.timer);
    this.playing = false;
    for (const { source } of this.sounding) source.stop();
    this.onchange(false);
  }

  /** Put what is due within `AHEAD` seconds on its way. */
  ahead() {
    while (this.at < this.ctx.currentTime + AHEAD) {
      const { notes, bpm, ticks } = this.beat(),
        tickS = 60 / bpm / TICKS;
      if (this.tick >= ticks) this.tick = 0;
      const until = Math.min(ticks, this.tick + Math.max(1, Math.round(AHEAD / 2 / tickS)));
      this.marks.push({ at: this.at, tick: this.tick, tickS });
      for (const [tick, pitch, velocity] of notes)
        if (tick >= this.tick && tick < until) this.hit(pitch, velocity, this.at + (tick - this.tick) * tickS);
      this.at += (until - this.tick) * tickS;
      this.tick = until;
    }
    this.marks = this.marks.filter((mark, i, all) => !all[i + 1] || all[i + 1].at > this.ctx.currentTime);
  }

  hit(pitch, velocity, when) {
    const hit = this.kit.hits.get(pitch);
    if (!hit) return;
    const { buffer } = hit.layers.filter((layer) => layer.from <= Math.max(velocity, hit.layers[0].from)).at(-1);
    const source = this.ctx.createBufferSource(),
      gain = this.ctx.createGain();
    const loud = hit.gain * 10 ** ((this.kit.velocityDb * (Math.min(velocity / 127, 1) - 1)) / 20);
    gain.gain.setValueAtTime(loud, when);
    source.buffer = buffer;
    source.connect(gain).connect(this.ctx.destination);
    source.start(when);
    const before = hit.choke && this.open.get(hit.choke);
    if (before && before.when < when) {
      before.gain.gain.setValueAtTime(before.loud, when);
      before.gain.gain.linearRampToValueAtTime(0, when + CHOKE);
    }
    const one = { source, gain, when, loud };
    if (hit.choke) this.open.set(hit.choke, one);
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
