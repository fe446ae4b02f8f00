// At the bottom of the window: what waits to be kept, and what came of the last thing done.

import { button, writing } from "./controls.js";
import { element } from "./dom.js";
import { formatProblem } from "./format.js";
import { notePending } from "./live.js";

const CONFLICT = 409;

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Array}
 */
export function bottom(state, context) {
  return [state.message && message(state, context), state.pending && confirmBar(state, context)];
}

function message({ message: { kind, text } }, { store }) {
  return element(
    "div",
    { class: `notice bar ${kind}`, key: "message" },
    element("p", {}, element("span", { class: "unseen" }, `${kind}: `), text),
    button("Dismiss", () => store.set({ message: null }), { kind: "plain" }),
  );
}

function confirmBar(state, context) {
  const left = secondsLeft(state);
  return element(
    "section",
    { class: "notice bar warning", key: "confirm", "aria-label": "Changes wait to be kept" },
    element(
      "p",
      {},
      element("strong", {}, "Changed for now. "),
      "byway takes it back by itself in ",
      element("span", { role: "timer", class: "timer", id: "seconds-left" }, `${left} s`),
      ".",
    ),
    element(
      "div",
      { class: "actions" },
      button("Keep these changes", () => settle(context, "confirm"), {
        kind: "primary", id: "keep", ...writing(state),
      }),
      button("Take back", () => settle(context, "rollback"), {
        id: "take-back", ...writing(state),
      }),
    ),
  );
}

/**
 * @param {Object} state with pending
 * @returns {number}
 */
export function secondsLeft({ pending, now }) {
  return Math.max(0, Math.ceil((pending.deadline - now) / 1000));
}

const DONE = {
  confirm: "Kept: the changes stay.",
  rollback: "Taken back: everything is as it was before.",
};

async function settle(context, verb) {
  const { store, requests } = context;
  store.set({ busy: verb, message: null });
  const reply = await requests.send("POST", `/api/v1/${verb}`);
  store.set({ busy: "" });
  if (reply.ok) {
    store.set({ pending: null, message: { kind: "success", text: DONE[verb] } });
    notePending(store, reply.body);
  } else {
    store.set({ message: { kind: "danger", text: formatProblem(reply.problem) } });
    if (reply.status === CONFLICT) { // nothing waits any more
      store.set({ pending: null });
    }
  }
  store.set({ focus: { id: `main-tab-${store.get().tab}` } });
  context.look();
  context.readForms();
}
