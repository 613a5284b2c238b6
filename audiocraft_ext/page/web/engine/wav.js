// WAV files of 16 bits with tempo, title and comment: the twin of audiocraft_ext/sound/wav.py and level.py.

import { rint } from "./numbers.js";

const CEILING_DB = -0.1,
  FULL = 1 - 2 ** -15;

/** Sound that would clip is made quieter instead: `{wav, about}`. */
export function levelled(wav) {
  let peak = 0;
  for (const x of wav) peak = Math.max(peak, Math.abs(x));
  if (peak <= FULL) return { wav, about: {} };
  const loudest = 20 * Math.log10(peak),
    gain = peak > 1 ? CEILING_DB - loudest : 0;
  if (!gain) return { wav, about: { gain_db: 0 } };
  const factor = Math.fround(10 ** (gain / 20));
  return {
    wav: wav.map((x) => x * factor),
    about: {
      gain_db: rint(gain * 100) / 100,
      level: `${loudest.toFixed(1)} dB above full scale, made quieter instead of clipped`,
    },
  };
}

/** `Float32Array [N]` as the bytes of a mono WAV. */
export function wavBytes(wav, rate, { title = "", comment = "", bpm = null, beats = null, loop = false } = {}) {
  const info = [
    ["INAM", title],
    ["ICMT", comment],
    ["ISFT", "micro-musicgen"],
  ].filter(([, text]) => text);
  const tags = info.flatMap(([name, text]) =>
    chunk(name, [...new TextEncoder().encode(text.replaceAll("\0", "")), 0]),
  );
  const size = 2 * wav.length,
    tail = chunk("LIST", [...ascii("INFO"), ...tags]);
  if (loop)
    tail.push(...chunk("smpl", words([0, 0, rint(1e9 / rate), 60, 0, 0, 0, 1, 0, 0, 0, 0, wav.length - 1, 0, 0])));
  if (bpm) tail.push(...acid(bpm, beats ?? Math.max(1, rint(((wav.length / rate) * bpm) / 60))));
  const fmt = chunk("fmt ", [...halves([1, 1]), ...words([rate, 2 * rate]), ...halves([2, 16])]);
  const head = [
    ...ascii("RIFF"),
    ...words([4 + fmt.length + 8 + size + tail.length]),
    ...ascii("WAVE"),
    ...fmt,
    ...ascii("data"),
    ...words([size]),
  ];
  const out = new Uint8Array(head.length + size + tail.length),
    view = new DataView(out.buffer);
  out.set(head);
  for (let i = 0; i < wav.length; i++)
    view.setInt16(head.length + 2 * i, Math.min(Math.max(rint(wav[i] * 32768), -32768), 32767), true);
  out.set(tail, head.length + size);
  return out;
}

function acid(bpm, beats) {
  const body = new DataView(new ArrayBuffer(24));
  body.setUint32(0, 4, true);
  body.setUint16(4, 60, true);
  body.setUint16(6, 0x8000, true);
  body.setUint32(12, beats, true);
  body.setUint16(16, 4, true);
  body.setUint16(18, 4, true);
  body.setFloat32(20, bpm, true);
  return chunk("acid", [...new Uint8Array(body.buffer)]);
}

const ascii = (text) => [...text].map((c) => c.charCodeAt(0));
const words = (values) => values.flatMap((x) => [x & 255, (x >>> 8) & 255, (x >>> 16) & 255, x >>> 24]);
const halves = (values) => values.flatMap((x) => [x & 255, x >> 8]);
const chunk = (name, body) => [...ascii(name), ...words([body.length]), ...body, ...(body.length % 2 ? [0] : [])];
