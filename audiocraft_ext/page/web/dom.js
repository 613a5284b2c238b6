// Elements in one line.

/** `make("button", {class: "quiet", onclick: f, "aria-label": "play"}, "text", child)`. */
export function make(tag, values = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** What keys do, `[[key, words], ...]`, to be unfolded. */
export const keyList = (keys) =>
  make(
    "details",
    {},
    make("summary", {}, "Keys"),
    make("p", { class: "quiet row" }, ...keys.map(([key, what]) => make("span", {}, make("kbd", {}, key), ` ${what}`))),
  );

let fields = 0;

/** A label with its input; a range shows `text(value)` beside it. */
export function field(label, input, text = null) {
  input.id ||= `field-${++fields}`;
  const shown = text && make("output", { for: input.id }, text(input.value));
  if (shown) {
    const say = () => {
      shown.value = text(input.value);
      input.setAttribute("aria-valuetext", shown.value);
    };
    input.addEventListener("input", say);
    say();
  }
  return make("div", { class: "field" }, make("label", { for: input.id }, label), input, ...(shown ? [shown] : []));
}

/** A button that chooses files, and the input behind it; `take(files)` has those that were chosen. */
export function chooseFiles(id, label, accept, take) {
  const input = make("input", {
    ...{ type: "file", accept, class: "unseen", id, tabindex: -1, "aria-label": label },
    onchange: () => {
      const files = [...input.files];
      input.value = ""; // so that the same file can be chosen again
      take(files);
    },
  });
  return [make("button", { id: id.replace("file", "choose"), onclick: () => input.click() }, "Choose a file"), input];
}

/** A line for the user, read out by screen readers. */
export function say(text, wrong = false) {
  const line = document.getElementById("status");
  line.textContent = text;
  line.classList.toggle("wrong", wrong);
}

/** Show how much of something is done, 0 to 1; null hides it. */
export function progress(share) {
  const bar = document.getElementById("progress");
  bar.hidden = share === null;
  if (share !== null) bar.value = share;
}

export const randomSeed = () => BigInt(crypto.getRandomValues(new Uint32Array(1))[0]);

/** A seed from a text field; a random one where it is empty. */
export function seedOf(text) {
  if (!text.trim()) return randomSeed();
  if (!/^\d{1,20}$/.test(text.trim()) || BigInt(text.trim()) >= 1n << 64n)
    throw new Error(`a seed is a whole number from 0 to 2^64 - 1, got ${text}`);
  return BigInt(text.trim());
}
