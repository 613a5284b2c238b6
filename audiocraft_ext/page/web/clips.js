// Clips while they are made: what comes from the engine goes into them, and to the player once it will last.

import { progress, say } from "./dom.js";
import { stemOf } from "./engine/recipe.js";
import { joined } from "./engine/sampler.js";
import { ask } from "./maker.js";
import { context } from "./player.js";

export const newId = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

/** A clip that is still to be made; `parent` is the id of the one that it was made of. */
export function newClip(recipe, rate, parent = null) {
  return {
    id: newId(),
    at: Date.now(),
    name: stemOf(recipe, 0),
    recipe,
    index: 0,
    rate,
    parent,
    wav: new Float32Array(recipe.samples),
    made: 0,
    seconds: recipe.samples / rate,
    pieces: [],
    about: {},
    done: false,
  };
}

/** Makes one clip at a time. `options()` says whether it is `live`, heard while it is made, and played in a `loop`. */
export class Making {
  constructor(player, rack, options, onbusy) {
    Object.assign(this, { player, rack, options, onbusy, now: null });
  }

  stop() {
    this.now?.stop();
  }

  /** The promise is true where the clip was made. */
  async make(info, clip) {
    if (this.now) {
      say("One clip at a time: wait for the one that is made, or stop it.", true);
      return false;
    }
    const { live } = this.options(),
      began = performance.now();
    let asked = false;
    context(clip.rate); // a click allows sound, a message from the worker does not
    this.rack.add(clip);
    const job = ask("sound", { name: info.name, recipe: clip.recipe, index: clip.index }, (data) => {
      if (!asked) this.take(info, clip, data, live);
    });
    clip.stop = () => {
      asked = true;
      job.stop();
    };
    this.now = clip;
    this.onbusy(true);
    try {
      await job.promise;
      if (!asked) this.finish(clip, performance.now() - began, live);
    } catch (error) {
      await this.rack.remove(clip);
      say(error.message, true);
    }
    if (asked) {
      await this.rack.remove(clip);
      say("Stopped.");
    }
    this.now = null;
    this.onbusy(false);
    return Boolean(clip.done);
  }

  take(info, clip, { loaded, total, share, preview, codes, wav, about }, live) {
    if (total) {
      progress(loaded / total);
      say(`Loading ${info.name}: ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`);
      return;
    }
    clip.sampling ??= performance.now();
    if (share !== undefined) progress(share);
    if (codes?.[0].length) clip.pieces.push(codes);
    if (about) Object.assign(clip, { about, wav, made: wav.length, seconds: wav.length / clip.rate });
    else if ((preview || wav)?.length) this.hear(clip, preview || wav, live);
    else return; // there is nothing new to draw
    this.rack.refresh(clip);
  }

  /** One more piece. It is played from when the rest will be there in time. */
  hear(clip, wav, live) {
    clip.wav.set(wav, clip.made);
    clip.made += wav.length;
    const share = clip.made / clip.wav.length,
      left = ((performance.now() - clip.sampling) / 1000) * (1 / share - 1);
    if (live && this.player.clip === clip) this.player.push(clip, wav);
    else if (live && !clip.begun && left < clip.seconds) {
      clip.begun = true;
      this.player.stream(clip);
      this.player.push(clip, clip.wav.slice(0, clip.made));
      say(`First sound after ${((performance.now() - clip.sampling) / 1000).toFixed(1)} s`);
    }
    if (!clip.recipe.loop) progress(share);
  }

  finish(clip, ms, live) {
    clip.codes = joined(clip.pieces, clip.pieces[0].length);
    delete clip.pieces;
    delete clip.stop;
    clip.done = true;
    this.rack.refresh(clip);
    if (live && clip.begun) this.player.end(clip, this.options().loop);
    else if (live) this.player.play(clip, this.options().loop);
    const speed = clip.recipe.source ? "" : `, ${Math.round((clip.codes[0].length * 1000) / ms)} steps a second`;
    say(`${clip.seconds.toFixed(1)} s of sound in ${(ms / 1000).toFixed(1)} s${speed}`);
  }
}
