// Tab: destinations that never use the VPN.

import { changeNow } from "./change.js";
import {
  button, labelled, notice, paragraph, refusal, searchField, table, writing,
} from "./controls.js";
import { closeDialog, openDialog } from "./dialog.js";
import { draftOf, type } from "./drafts.js";
import { element } from "./dom.js";
import { formatCount } from "./format.js";
import { card, unread } from "./traffic.js";
import { splitValues } from "./values.js";

const MOST_SHOWN = 200;

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Array}
 */
export function bypassTab(state, context) {
  return [
    card("Add destinations", addForm(state, context)),
    card("Bypass list", shown(state, context)),
  ];
}

function addForm(state, context) {
  const { store } = context;
  const { text = "" } = draftOf(state, "bypass");
  const off = writing(state);
  const wrong = state.refusals.bypass;
  return element(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        add(context, splitValues(text));
      },
    },
    labelled(
      "Addresses, subnets or hosts' names",
      element("textarea", {
        id: "bypass-text", rows: "3", spellcheck: "false", value: text, readonly: off.disabled,
        "aria-describedby": "bypass-text-hint", "aria-invalid": wrong ? "true" : null,
        oninput: (event) => type(store, "bypass", { text: event.target.value }),
      }),
      "One per line, such as 203.0.113.7, 2001:db8::/48 or relay.example.net",
    ),
    refusal(wrong),
    button("Add", null, {
      type: "submit", kind: "primary", id: "bypass-add", ...off,
      disabled: off.disabled || !text.trim(),
    }),
  );
}

function shown(state, context) {
  const { store } = context;
  const all = state.bypass.value;
  if (!all) {
    return unread(state, "bypass") ?? paragraph("Loading...", "empty");
  }
  const { search = "" } = draftOf(state, "bypass");
  const off = writing(state);
  const matching = all.filter((one) => one.includes(search.trim().toLowerCase()));
  const rows = matching.slice(0, MOST_SHOWN).map((one) => ({
    key: one,
    cells: [
      element("code", {}, one),
      button("Remove", () => remove(context, one), { "aria-label": `Remove ${one}`, ...off }),
    ],
  }));
  const more = matching.length - rows.length;
  const count = formatCount(all.length, "destination");
  const none = all.length ? "Nothing matches." : "Nothing is listed.";
  return [
    element(
      "div",
      { class: "actions" },
      searchField("bypass-search", "Search the bypass list", search, (typed) =>
        type(store, "bypass", { search: typed }),
      ),
      button("Clear...", () => openDialog(store, { kind: "clear" }), {
        kind: "danger", id: "bypass-clear", ...off, disabled: off.disabled || !all.length,
      }),
      element("span", { class: "hint", role: "status" }, `${count} listed.`),
    ),
    table("Bypass list", ["Destination", ""], rows, none),
    more > 0 && notice("info", `${more} more`, " Search to see them."),
  ];
}

/**
 * Whether to clear the list.
 * @param {Object} state
 * @param {Object} context
 * @returns {{title: string, body: Array, actions: Array}}
 */
export function clearDialog(state, context) {
  const count = formatCount(state.bypass.value?.length ?? 0, "destination");
  return {
    title: "Clear the bypass list?",
    body: [
      paragraph(`${count} will go the way of the mode again, for good.`),
    ],
    actions: [
      button("Clear the list", () => clear(context), { kind: "danger", id: "clear-list" }),
      button("Cancel", () => closeDialog(context.store)),
    ],
  };
}

async function clear(context) {
  closeDialog(context.store);
  await changeNow(context, {
    title: "Clear the bypass list", method: "DELETE", path: "/bypass", form: "bypass",
    done: "The bypass list is empty.",
  });
  context.store.set({ focus: { id: "bypass-text" } });
}

async function add(context, destinations) {
  if (!destinations.length) {
    return;
  }
  await changeNow(context, {
    title: "Add destinations", method: "POST", path: "/bypass", body: destinations, form: "bypass",
    done: `${formatCount(destinations.length, "destination")} added.`,
    onRefused: () => context.store.set({ focus: { id: "bypass-text" } }),
  });
}

function remove(context, destination) {
  return changeNow(context, {
    title: `Remove ${destination}`, method: "DELETE", path: `/bypass/${destination}`,
    done: `${destination} is not listed any more.`,
  });
}
