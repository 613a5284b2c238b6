// Files out of the page: downloads, and things that are dragged out of it.

/** Hand `bytes` (or text) to the user as a file. */
export function download(name, bytes, type) {
  const url = URL.createObjectURL(new Blob([bytes], { type })),
    link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Make an element a file that can be dragged out; `file()` gives `{name, bytes, type}`. */
export function draggable(element, file) {
  let url = null;
  element.draggable = true;
  element.addEventListener("dragstart", (event) => {
    const { name, bytes, type } = file(),
      made = new File([bytes], name, { type });
    url = URL.createObjectURL(made);
    event.dataTransfer.effectAllowed = "copy";
    event.dataTransfer.setData("DownloadURL", `${type}:${name}:${url}`); // to a folder, in Chromium's kin
    event.dataTransfer.setData("text/uri-list", url);
    event.dataTransfer.items.add(made); // to another page
  });
  element.addEventListener("dragend", () => setTimeout(() => URL.revokeObjectURL(url), 60_000));
}

export const midiFile = (stem, bytes) => ({ name: `${stem}.mid`, bytes, type: "audio/midi" });
export const jsonFile = (stem, bytes) => ({ name: `${stem}.json`, bytes, type: "application/json" });

/** A name as a part of a file's. */
export const plain = (name) =>
  name
    .trim()
    .replace(/[^\w.+-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "");
