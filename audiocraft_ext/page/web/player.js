// Sound out: clips in a loop without a gap, and while they are made.

const contexts = new Map();
const HEADROOM = 0.7; // clips may go beyond full scale; their files are made quieter instead

/** One for each rate, so that pieces of a clip join sample by sample. */
export function context(rate) {
  if (!contexts.has(rate)) contexts.set(rate, new AudioContext({ sampleRate: rate, latencyHint: "interactive" }));
  const found = contexts.get(rate);
  if (found.state === "suspended") found.resume();
  return found;
}

export function buffer(ctx, wav) {
  const out = ctx.createBuffer(1, Math.max(1, wav.length), ctx.sampleRate);
  out.copyToChannel(wav, 0);
  return out;
}

/** Plays one thing at a time. `onchange(clip or null)` is told what. */
export class Player {
  constructor(onchange) {
    this.onchange = onchange;
    this.clip = null;
    this.sources = [];
  }

  /** A whole clip, again and again if `loop`. */
  play(clip, loop) {
    this.stop();
    const ctx = context(clip.rate);
    this.begin(clip, ctx, ctx.currentTime + 0.02);
    this.add(buffer(ctx, clip.wav), this.start, loop);
    this.ends = loop ? Infinity : this.start + clip.wav.length / clip.rate;
  }

  /** Begin a clip that is still made: `push` its pieces, then `end`. */
  stream(clip) {
    this.stop();
    this.begin(clip, context(clip.rate), 0);
    this.next = 0;
    this.ends = Infinity;
  }

  push(clip, wav) {
    if (this.clip !== clip) return;
    const earliest = this.ctx.currentTime + 0.05;
    if (this.next < earliest) {
      // the first piece, or one that came late
      this.start += earliest - this.next;
      if (!this.next) this.start = earliest;
      this.next = earliest;
    }
    this.add(buffer(this.ctx, wav), this.next, false);
    this.next += wav.length / clip.rate;
  }

  /** All of it is there: it goes on with its start, where it is to go round and round. */
  end(clip, loop) {
    if (this.clip !== clip) return;
    this.ends = loop ? Infinity : this.next;
    if (!loop) return;
    const next = Math.max(this.next, this.ctx.currentTime + 0.05);
    this.start += next - this.next; // a loop may come later than the sound that was heard meanwhile
    this.add(buffer(this.ctx, clip.wav), next, true);
  }

  stop() {
    for (const source of this.sources) source.stop();
    this.sources = [];
    if (this.clip) {
      this.clip = null;
      this.onchange(null);
    }
  }

  /** How far the clip is, in seconds; null when it does not play. */
  position() {
    if (!this.clip) return null;
    const at = this.ctx.currentTime - this.start,
      length = this.clip.seconds;
    if (this.ctx.currentTime > this.ends) {
      this.stop();
      return null;
    }
    return Math.max(0, at) % length;
  }

  begin(clip, ctx, start) {
    Object.assign(this, { clip, ctx, start });
    this.onchange(clip);
  }

  add(data, when, loop) {
    const source = this.ctx.createBufferSource();
    Object.assign(source, { buffer: data, loop });
    const gain = this.ctx.createGain();
    gain.gain.value = HEADROOM;
    source.connect(gain).connect(this.ctx.destination);
    source.start(when);
    this.sources.push(source);
  }
}
