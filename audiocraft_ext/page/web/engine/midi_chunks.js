// Where a MIDI file's tracks lie: the twin of audiocraft_ext/midi/chunks.py.

export const HEADER = "MThd",
  TRACK = "MTrk";
const FURTHEST = 4096; // bytes in which a header is looked for

/** A word of `size` bytes, the first one first. */
export const number = (data, at, size) =>
  data.subarray(at, at + size).reduce((sum, byte) => sum * 256 + byte, 0);

/** The four letters at a place; fewer where the data ends. */
export const letters = (data, at) => String.fromCharCode(...data.subarray(at, at + 4));

/** Where four letters are next, from `at` on and before `end`; -1 where they are not. */
export function find(data, name, at, end = data.length) {
  const last = Math.min(end, data.length) - 4,
    first = name.charCodeAt(0);
  for (let i = data.indexOf(first, at); i >= 0 && i <= last; i = data.indexOf(first, i + 1))
    if (letters(data, i) === name) return i;
  return -1;
}

/** A file from its header on, and a remark where that is not its first byte ("" where it is). */
export function unwrap(data) {
  if (letters(data, 0) === HEADER) return [data, ""];
  if (letters(data, 0) === "RIFF" && letters(data, 8) === "RMID")
    for (let at = 12; at + 8 <= data.length; ) {
      const size = number(data.slice(at + 4, at + 8).reverse(), 0, 4);
      if (letters(data, at) === "data" && letters(data, at + 8) === HEADER)
        return [data.subarray(at + 8, at + 8 + size), ""];
      at += 8 + size + (size % 2);
    }
  const at = find(data, HEADER, 0, FURTHEST);
  return at < 0 ? [data, ""] : [data.subarray(at), `its first ${at} bytes are no MIDI, left out`];
}

/** The first track from byte `at` on, `{begin, end, junk}`; null where there is none, or where another file begins. */
export function nextTrack(data, at) {
  let begin = at,
    name;
  while (at + 8 <= data.length && (name = letters(data, at)) !== HEADER) {
    const end = at + 8 + number(data, at + 4, 4);
    if (name === TRACK) return { begin: at + 8, end, junk: at - begin };
    if (isName(data, at) && (end === data.length || isName(data, end))) at = begin = end;
    else if ((at = find(data, TRACK, at + 1)) < 0) return null;
  }
  return null;
}

/** Whether a track's size can be believed: the file ends with it, or a chunk follows, or an end of track is before it. */
export function endsThere(data, end) {
  if (end >= data.length) return end === data.length;
  return isName(data, end) || number(data, end - 3, 3) === 0xff2f00;
}

const isName = (data, at) => /^[\x20-\x7e]{4}$/.test(letters(data, at));
