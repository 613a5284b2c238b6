// What the buttons on a clip do: chains of weird tools (docs/WEIRD.md), fitted to its length and tempo.

const alone = () => true;
const layered = ({ K }) => K > 1;

/** `{name, title, text, chain(clip), fits(clip), other}` of a clip `{beats, bpm, K}`; `other`: it needs a second clip, whose
 * name in the chain is `OTHER`. */
export const OTHER = "other.wav";
export const PRESETS = [
  ["skin", "New skin", "the same beat, everything but codebook 0 made again", () => "reroll:keep=0", layered],
  ["hits", "New beat", "another beat under the same grain", () => "reroll:books=0", layered],
  ["fill", "Fill", "its end made again", (clip) => `infill:at=-${time(end(clip), clip)},len=${time(end(clip), clip)}`],
  [
    "stutter",
    "Stutter",
    "a roll on the last beat of each bar",
    (clip) => {
      const roll = `len=${quarter(clip)},times=4`;
      return clip.beats < 4 ? `stutter:at=-${time(1, clip)},${roll}` : `stutter:at=${time(3, clip)},${roll},every=${time(4, clip)}`;
    },
    (clip) => clip.beats >= 1,
  ],
  [
    "reverse",
    "Reverse",
    "every other beat backwards",
    (clip) => (clip.beats < 2 ? "reverse" : `reverse:at=${time(1, clip)},len=${time(1, clip)},every=${time(2, clip)}`),
  ],
  ["dust", "Dust", "every tenth code replaced by another of the clip", () => "mutate:share=0.1"],
  ["drag", "Drag", "the grain a sixteenth later than the hits", (clip) => `shift:by=${quarter(clip)},books=1-`, layered],
  ["alien", "Alien", "another sound in the place of each", () => "recode:add=1,books=1-", layered],
  ["longer", "Longer", "its first half twice", (clip) => `repeat:at=0f,len=${half(clip)},times=2`],
  ["swap", "Swap skins", "this beat in the grain of the clip chosen beside it", () => `swap:with=${OTHER},books=1-`, layered, true],
  ["cut", "Cut to", "its first half, then the clip chosen beside it", (clip) => `splice:with=${OTHER},at=${half(clip)},from=0f`, alone, true],
].map(([name, title, text, chain, fits = alone, other = false]) => ({ name, title, text, chain, fits, other }));

/** So many beats; of a clip without a tempo so many half seconds. */
const time = (beats, { bpm }) => (bpm ? `${beats}b` : `${beats / 2}s`);
const quarter = ({ bpm }) => (bpm ? "1/4b" : "0.125s");
const end = ({ beats }) => (beats >= 16 ? 4 : beats >= 8 ? 2 : 1);
const half = (clip) => (clip.beats >= 2 ? time(Math.floor(clip.beats / 2), clip) : `${Math.max(1, Math.floor(clip.frames / 2))}f`);

/** What a preset has to know of a clip. */
export function measureOf(info, { recipe: { bpm }, codes }) {
  const frames = codes[0].length,
    seconds = frames / info.spec.frame_rate;
  return { frames, bpm, K: codes.length, beats: bpm ? (seconds * bpm) / 60 : 2 * seconds };
}
