// The losses of a run: all codebooks together, each by itself, and of the files that it never saw.

import { make } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, LOW] = [900, 260, 44, 22];
const COLOURS = ["#8fb8ff", "#7fd6a2", "#e39bd3", "#c9b458", "#79d0d6", "#d98d7a", "#a79bf0", "#9aa0ab"];

/** `{train, valid}`, points with `step`, `ce` and `ce_q1`... Some lines are the least that a codec's story needs. */
export function chart({ train, valid }) {
  const books = Object.keys(train[0])
    .filter((key) => /^ce_q\d+$/.test(key))
    .slice(0, COLOURS.length);
  const all = [...train, ...valid],
    values = all.flatMap((one) => ["ce", ...books].map((key) => one[key])).filter(Number.isFinite);
  const [low, high] = [Math.min(...values), Math.max(...values)],
    last = Math.max(...all.map(({ step }) => step), 1);
  const x = (step) => LEFT + ((WIDTH - LEFT - 8) * step) / last,
    y = (ce) => 8 + (HEIGHT - LOW - 8) * (1 - (ce - low) / (high - low || 1));
  const line = (points, key, values) =>
    svg("polyline", {
      fill: "none",
      ...values,
      points: points
        .filter((one) => Number.isFinite(one[key]))
        .map((one) => `${x(one.step).toFixed(1)},${y(one[key]).toFixed(1)}`)
        .join(" "),
    });
  const marks = [low, (low + high) / 2, high].flatMap((ce) => [
    svg("line", { class: "axis", x1: LEFT, x2: WIDTH - 8, y1: y(ce), y2: y(ce) }),
    svg("text", { x: 4, y: y(ce) + 4 }, ce.toFixed(2)),
  ]);
  const drawing = svg(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": `Losses; the last is ${train.at(-1).ce.toFixed(3)}`,
    },
    ...marks,
    svg("text", { x: WIDTH - 8, y: HEIGHT - 6, "text-anchor": "end" }, `${last} updates`),
    ...books.map((key, at) => line(train, key, { stroke: COLOURS[at], "stroke-width": 1, opacity: 0.8 })),
    line(train, "ce", { stroke: "#f0b429", "stroke-width": 2.5 }),
    line(valid, "ce", { stroke: "#ffffff", "stroke-width": 2, "stroke-dasharray": "6 4" }),
    ...valid.map((one) => svg("circle", { cx: x(one.step), cy: y(one.ce), r: 3, fill: "#ffffff" })),
  );
  const name = (colour, text) => {
    const dash = make("i");
    dash.style.background = colour;
    return make("span", {}, dash, text);
  };
  const now = (points, key) => (Number.isFinite(points.at(-1)?.[key]) ? ` ${points.at(-1)[key].toFixed(3)}` : "");
  const legend = make(
    "div",
    { class: "legend" },
    name("#f0b429", `training${now(train, "ce")}`),
    name("#ffffff", `held out${now(valid, "ce")}`),
    ...books.map((key, at) => name(COLOURS[at], `codebook ${key.slice(4)}${now(train, key)}`)),
  );
  return make("div", {}, drawing, legend);
}

function svg(tag, values, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
