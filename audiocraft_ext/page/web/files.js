// Files out of the page: downloads, and things that are dragged out of it.

/** Hand `bytes` (or text) to the user as a file. */
export function download(name, bytes, type) {
  const url = URL.createObjectURL(new Blob([bytes], { type })),
    link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Whether what is dragged now is the page's own. */
export const dragging = { own: false };

/** Make an element a file that can be dragged out; `file()` gives `{name, bytes, type}`. */
export function draggable(element, file) {
  let url = null;
  element.draggable = true;
  element.addEventListener("dragstart", (event) => {
    dragging.own = true;
    const { name, bytes, type } = file(),
      made = new File([bytes], name, { type });
    url = URL.createObjectURL(made);
    event.dataTransfer.effectAllowed = "copy";
    event.dataTransfer.setData("DownloadURL", `${type}:${name}:${url}`); // to a folder, in Chromium's kin
    event.dataTransfer.setData("text/uri-list", url);
    event.dataTransfer.items.add(made); // to another page
  });
  element.addEventListener("dragend", () => {
    dragging.own = false;
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  });
}

/** Call `take(files)` with what is dropped on the document or pasted into it; a link is a file with its URL. What an
 * element takes itself it has said so by then. */
export function takeFiles(take) {
  const inText = ({ target }) => target.matches?.("input:not([type=checkbox]):not([type=range]), textarea");
  const brings = (event, type) => event.dataTransfer?.types.includes(type);
  document.addEventListener("dragover", (event) => {
    if (brings(event, "Files") || (brings(event, "text/uri-list") && !inText(event))) event.preventDefault();
  });
  const came = (event, data) => {
    if (event.defaultPrevented || !data) return;
    const link = inText(event) ? "" : data.getData("text/uri-list") || data.getData("text/plain"),
      files = data.files.length ? [...data.files] : /^\s*https?:\/\/\S+\s*$/.test(link) ? [new File([link], "link.url")] : [];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  };
  document.addEventListener("drop", (event) => came(event, event.dataTransfer));
  document.addEventListener("paste", (event) => came(event, event.clipboardData));
}

const MIDI = /^(MThd|RIFF.{4}RMID)/s,
  SOUND = /^(RIFF.{4}WAVE|FORM.{4}AIF|fLaC|OggS|ID3|\xff[\xe0-\xff]|.{4}ftyp|\x1aE\xdf\xa3)/s;

/** What a file that came in is: "midi", "sound" or "". Throws in words where it cannot be read. */
export async function kindOf(file) {
  let head;
  try {
    head = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  } catch {
    throw new Error(`${file.name} cannot be read; a folder cannot be dropped here, its files can`);
  }
  return MIDI.test(head) ? "midi" : SOUND.test(head) ? "sound" : "";
}

export const midiFile = (stem, bytes) => ({ name: `${stem}.mid`, bytes, type: "audio/midi" });
export const jsonFile = (stem, bytes) => ({ name: `${stem}.json`, bytes, type: "application/json" });

/** A file's name without its ending, as a clip's. */
export const bareName = (name) => name.replace(/\.\w+$/, "").slice(0, 60);

/** A name as a part of a file's. */
export const plain = (name) =>
  name
    .trim()
    .replace(/[^\w.+-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "");
