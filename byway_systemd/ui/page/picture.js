// The picture of where traffic goes now, and the same as a table.

import { table } from "./controls.js";
import { element } from "./dom.js";
import { pictureModel } from "./picture_model.js";

const ROW = 52;
const NODE = 40;
const LETTER = 7.2; // widths of a letter of the names and of the details, in pixels
const SMALL_LETTER = 6.1;
const WORDS = {
  direct: "direct",
  vpn: "VPN",
  main: "main table",
  near: "near",
  blocked: "blocked",
};

/**
 * @param {Object} state with a status, and the width that there is
 * @returns {Array}
 */
export function picture(state) {
  const model = pictureModel(state);
  const names = Object.fromEntries(model.links.map(({ id, name }) => [id, name]));
  return [
    element("div", { id: "picture", class: "picture" }, drawing(model, names, state.width)),
    element(
      "details",
      {},
      element("summary", {}, "The same as a table"),
      table(
        "Where traffic goes now",
        ["What", "Goes", "By", "Because"],
        model.lines.map((line, key) => ({
          key,
          cells: [
            `${line.from}${line.detail ? ` (${line.detail})` : ""}`,
            WORDS[line.verdict],
            names[line.to] ?? "nowhere",
            line.because,
          ],
        })),
      ),
    ),
  ];
}

function drawing({ lines, links }, names, width) {
  if (!width) {
    return null;
  }
  const height = Math.max(lines.length, links.length) * ROW;
  const left = Math.min(260, Math.max(126, Math.round(width * 0.36)));
  const right = Math.min(220, Math.max(76, Math.round(width * 0.27)));
  const rowOf = (index, count) => ((index + 0.5) * height) / count;
  const ends = Object.fromEntries(links.map(({ id }, index) => [id, rowOf(index, links.length)]));
  const frame = { left, end: width - right };
  return element(
    "svg",
    {
      role: "img", "aria-labelledby": "picture-title picture-text", width, height,
      viewBox: `0 0 ${width} ${height}`,
    },
    element("title", { id: "picture-title" }, "Where traffic goes now"),
    element("desc", { id: "picture-text" }, lines.map((line) => sentence(line, names)).join(" ")),
    lines.map((line, index) => drawLine(line, rowOf(index, lines.length), ends[line.to], frame)),
    lines.map((line, index) =>
      drawNode(0, rowOf(index, lines.length), left, line.from, line.detail),
    ),
    links.map(({ id, name, detail }) => drawNode(frame.end, ends[id], right, name, detail)),
  );
}

function sentence(line, names) {
  const isNamed = line.to && line.verdict !== "near";
  const way = WORDS[line.verdict] + (isNamed ? `, by ${names[line.to]}` : "");
  return `${line.from}: ${way}.`;
}

function drawLine({ verdict, to, from }, y, endY, { left, end }) {
  const label = element("text", { class: "label", x: left + 8, y: y - 6 }, WORDS[verdict]);
  if (!to) {
    const stop = left + Math.round((end - left) * 0.6);
    const cross = `M${stop - 6} ${y - 6} l12 12 m0 -12 l-12 12`;
    return element(
      "g",
      { class: "line-of blocked", key: `line ${from}` },
      element("path", { d: `M${left} ${y} H${stop}` }),
      element("path", { d: cross }),
      label,
    );
  }
  const bend = Math.round((end - left) / 2);
  const start = left + Math.min(70, bend);
  const curve = `C${start + bend / 2} ${y} ${end - bend / 2} ${endY} ${end} ${endY}`;
  const tip = `M${end - 8} ${endY - 5} L${end - 1} ${endY} L${end - 8} ${endY + 5}`;
  return element(
    "g",
    { class: `line-of ${verdict}`, key: `line ${from}` },
    element("path", { d: `M${left} ${y} H${start} ${curve}` }),
    element("path", { d: tip, class: "tip" }),
    label,
  );
}

function drawNode(x, y, width, name, detail) {
  const small = fit(detail, width - 16, SMALL_LETTER);
  const big = fit(name, width - 16, LETTER);
  return element(
    "g",
    { class: "node", key: `node ${x} ${name}` },
    element("title", {}, detail ? `${name}: ${detail}` : name),
    element("rect", { x: x + 0.5, y: y - NODE / 2, width: width - 1, height: NODE, rx: 6 }),
    element("text", { class: "name", x: x + 8, y: small ? y - 3 : y + 5 }, big),
    small && element("text", { class: "small", x: x + 8, y: y + 13 }, small),
  );
}

function fit(text, width, letter) {
  const most = Math.floor(width / letter);
  return text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text;
}
