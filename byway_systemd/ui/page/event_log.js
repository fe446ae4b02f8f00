// Tab: what has happened since the page was opened, newest first.

import { badge, button, labelled, paragraph, select } from "./controls.js";
import { element } from "./dom.js";
import { formatCount, formatTime } from "./format.js";
import { card } from "./traffic.js";

const KINDS = [
  ["", "All"],
  ["mode", "Mode"],
  ["move", "Moves"],
  ["repair", "Repairs"],
  ["failure", "Failures"],
  ["config", "Configuration"],
  ["connection", "Connection"],
];
const COLOURS = { failure: "danger", connection: "warning", mode: "success" };

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Array}
 */
export function logTab(state, { store }) {
  const { kind = "" } = state.drafts.log ?? {};
  const entries = state.log.filter((entry) => !kind || entry.kind === kind);
  const choose = (event) =>
    store.update("drafts", (drafts) => ({ ...drafts, log: { kind: event.target.value } }));
  return [
    card(
      "Events",
      element(
        "div",
        { class: "line" },
        labelled("Kind", select({ id: "log-kind", value: kind, onchange: choose }, KINDS)),
        button("Empty the log", () => store.set({ log: [] }), {
          id: "log-empty", disabled: !state.log.length,
        }),
        paragraph(`${formatCount(entries.length, "event")}, the last 500 at most`, "hint"),
      ),
      element(
        "div",
        {
          role: "log", class: "log", id: "log", "aria-label": "Events, newest first",
          tabindex: "0",
        },
        entries.map(entryLine),
        !entries.length && paragraph("Nothing has happened since the page was opened.", "empty"),
      ),
    ),
  ];
}

function entryLine({ id, time, kind, text }) {
  return element(
    "div",
    { class: "entry", key: id },
    element("time", { datetime: new Date(time).toISOString() }, formatTime(time)),
    badge(COLOURS[kind] ?? "info", kind),
    element("span", {}, text),
  );
}
