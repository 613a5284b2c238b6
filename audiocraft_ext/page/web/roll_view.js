// Notes to look at: a piano roll with a colour for each part, drums below it, and a playhead.

import { make } from "./dom.js";

const COLOURS = ["#f0b429", "#8fb8ff", "#7ee0a1", "#ff8f80", "#c9a0ff", "#6fd6e8", "#f49ac2", "#c8d66b", "#e0a070", "#b8bcc6"];
const LEAST = 12, // semitones that are shown
  HIT = 60, // ticks of a hit of drums
  MUTED = 0.12;
const [LEFT, TOP] = [30, 18]; // pixels for octaves and bars

export const colourOf = (i) => COLOURS[i % COLOURS.length];

// A picture is {notes: [tick, length, place of the part, pitch, velocity], parts: [{name, drums, muted}], bars, barTicks,
// beatTicks}.

/** Draw a picture into a canvas as large as it is shown; `plain` leaves the words out. */
export function drawRoll(canvas, picture, plain = false) {
  const scale = window.devicePixelRatio || 1,
    { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return;
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  const ctx = canvas.getContext("2d"),
    { notes, parts, bars, barTicks, beatTicks } = picture,
    [left, top] = plain ? [0, 2] : [LEFT, TOP];
  ctx.scale(scale, scale);
  const drums = [...new Set(notes.filter(([, , part]) => parts[part].drums).map(([, , , pitch]) => pitch))].sort((a, b) => a - b),
    tuned = notes.filter(([, , part]) => !parts[part].drums).map(([, , , pitch]) => pitch);
  const low = tuned.length ? Math.min(...tuned) : 60,
    rows = tuned.length || !drums.length ? Math.max(Math.max(low, ...tuned) - low + 1, LEAST) : 0,
    gap = rows && drums.length ? 1 : 0;
  const high = (height - top - 2) / (rows + gap + drums.length || 1),
    x = (tick) => left + (tick / (bars * barTicks)) * (width - left);
  const y = (part, pitch) => top + high * (parts[part].drums ? rows + gap + drums.length - 1 - drums.indexOf(pitch) : rows - 1 - (pitch - low));
  ctx.font = "11px system-ui, sans-serif";
  ctx.textBaseline = "middle";
  const each = Math.max(1, 2 ** Math.ceil(Math.log2((bars * 22) / (width - left)))); // bars to a number
  for (let tick = 0; tick <= bars * barTicks; tick += beatTicks) {
    const isBar = tick % barTicks === 0,
      bar = tick / barTicks;
    if (!isBar && (plain || x(beatTicks) - left < 7)) continue;
    ctx.fillStyle = isBar ? "#3a3e48" : "#272a31";
    ctx.fillRect(Math.round(x(tick)), top, 1, height - top);
    ctx.fillStyle = "#a3a7b0";
    if (isBar && !plain && bar < bars && bar % each === 0) ctx.fillText(String(bar + 1), x(tick) + 3, top / 2);
  }
  if (!plain)
    for (let pitch = Math.ceil(low / 12) * 12; pitch < low + rows; pitch += 12) {
      const at = top + high * (rows - 0.5 - (pitch - low));
      ctx.fillStyle = "#a3a7b0";
      ctx.fillText(`C${pitch / 12 - 1}`, 2, at);
      ctx.fillStyle = "#272a31";
      ctx.fillRect(left, Math.round(at + high / 2), width - left, 1);
    }
  for (const [tick, length, part, pitch, velocity] of notes) {
    ctx.fillStyle = colourOf(part);
    ctx.globalAlpha = parts[part].muted ? MUTED : 0.35 + (0.65 * velocity) / 127;
    const wide = x(tick + (parts[part].drums ? HIT : length)) - x(tick);
    ctx.fillRect(x(tick), y(part, pitch) + high * 0.08, Math.max(wide - 0.5, 1.5), Math.max(high * 0.84, 1));
  }
  ctx.globalAlpha = 1;
}

export class RollView {
  constructor() {
    this.canvas = make("canvas", { role: "img" });
    this.head = make("i");
    this.element = make("div", { class: "roll", title: "Drag it out as a MIDI file" }, this.canvas, this.head);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  show(picture) {
    this.picture = picture;
    const names = picture.parts.map(({ name }) => name).join(", ") || "no notes";
    this.canvas.setAttribute("aria-label", `Piano roll of ${picture.bars} bars, ${picture.notes.length} notes: ${names}`);
    this.draw();
  }

  draw() {
    if (this.picture) drawRoll(this.canvas, this.picture);
  }

  /** Put the playhead at a share of the whole; null takes it away. */
  at(share) {
    this.head.style.display = share === null ? "none" : "block";
    if (share !== null) this.head.style.left = `calc(${LEFT}px + ${share} * (100% - ${LEFT}px))`;
  }
}
