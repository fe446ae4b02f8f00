// What the tabs are put together from: buttons, choices, tables, notices.

import { element } from "./dom.js";
import { formatProblem } from "./format.js";

/**
 * @param {string} text
 * @param {function(Event): void} onclick
 * @param {Object} [attributes] `kind` is primary, secondary, danger or plain
 * @returns {Element}
 */
export function button(text, onclick, { kind = "secondary", ...attributes } = {}) {
  return element(
    "button",
    { type: "button", class: `button ${kind}`, onclick, ...attributes },
    text,
  );
}

/**
 * Attributes of a control that changes something: off for those who may only read.
 * @param {Object} state
 * @returns {Object}
 */
export function writing(state) {
  const reads = state.access !== "write";
  return {
    disabled: reads,
    "aria-describedby": reads ? "access-hint" : null,
  };
}

/**
 * A radio button or a checkbox, its label and what it means.
 * @param {Object} attributes of the input, with an id
 * @param {string} label
 * @param {string} [meaning]
 * @returns {Element}
 */
export function choice(attributes, label, meaning) {
  const note = meaning && `${attributes.id}-meaning`;
  return element(
    "div",
    { class: "choice" },
    element("input", { ...attributes, "aria-describedby": note || null }),
    element("label", { for: attributes.id }, label),
    meaning && element("span", { class: "meaning", id: note }, meaning),
  );
}

/**
 * A label above a control.
 * @param {string} label
 * @param {Element} control with an id
 * @param {string} [hint]
 * @returns {Element}
 */
export function labelled(label, control, hint) {
  return element(
    "div",
    { class: "field" },
    element("label", { for: control.id }, label),
    control,
    hint && element("span", { class: "hint", id: `${control.id}-hint` }, hint),
  );
}

/**
 * @param {Object} attributes with an id and a value
 * @param {Array<[string, string]>} options value and text
 * @returns {Element}
 */
export function select(attributes, options) {
  return element(
    "select",
    attributes,
    options.map(([value, text]) => element("option", { value, key: value }, text)),
  );
}

/**
 * @param {string} caption what a screen reader says of it
 * @param {string[]} heads
 * @param {Array<{key: *, cells: Array}>} rows a cell is what an element's children are
 * @param {string} [empty] what stands there without any rows
 * @returns {Element}
 */
export function table(caption, heads, rows, empty = "None.") {
  if (!rows.length) {
    return paragraph(empty, "empty");
  }
  return element(
    "table",
    { key: caption },
    element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, heads.map(head))),
    element("tbody", {}, rows.map((row) => tableRow(row, heads))),
  );
}

function head(text) {
  return element("th", { scope: "col" }, text || element("span", { class: "unseen" }, "Actions"));
}

function tableRow({ key, cells, ...attributes }, heads) {
  return element(
    "tr",
    { key, ...attributes },
    cells.map((cell, index) => element("td", { "data-head": heads[index] }, cell)),
  );
}

/**
 * A framed note. `kind` is info, success, warning or danger, and is said in words too.
 * @param {string} kind
 * @param {string} title
 * @param {...*} children
 * @returns {Element}
 */
export function notice(kind, title, ...children) {
  return element(
    "div",
    { class: `notice ${kind}`, key: `notice ${title}` },
    element("strong", {}, element("span", { class: "unseen" }, `${kind}: `), title),
    children,
  );
}

/**
 * Why something was refused, or nothing.
 * @param {Object|null} problem
 * @returns {Element|null}
 */
export function refusal(problem) {
  return problem ? notice("danger", "Refused", element("p", {}, formatProblem(problem))) : null;
}

/**
 * @param {string[]} texts
 * @returns {Element}
 */
export function list(texts) {
  return element("ul", { class: "plain" }, texts.map((text) => element("li", { key: text }, text)));
}

/**
 * A field to search a list with.
 * @param {string} id
 * @param {string} label
 * @param {string} value
 * @param {function(string): void} search called with what is typed
 * @returns {Element}
 */
export function searchField(id, label, value, search) {
  return element("input", {
    type: "search", id, class: "search", "aria-label": label, placeholder: "Search", value,
    oninput: (event) => search(event.target.value),
  });
}

/**
 * A paragraph: plain, a hint, or what stands where there is nothing.
 * @param {string} text
 * @param {string} [kind] hint or empty
 * @returns {Element}
 */
export function paragraph(text, kind) {
  return element("p", { class: kind, key: kind && text }, text);
}

/**
 * A word in a coloured frame.
 * @param {string} kind success, warning, danger or info
 * @param {string} text
 * @returns {Element}
 */
export function badge(kind, text) {
  return element("span", { class: `badge ${kind}` }, text);
}
