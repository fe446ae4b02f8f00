// Tab: try the mode; take byway's routes out of the kernel, and put them back.

import { propose } from "./change.js";
import { badge, button, notice, paragraph, refusal, table, writing } from "./controls.js";
import { element } from "./dom.js";
import { formatCount } from "./format.js";
import { card } from "./traffic.js";

const CLEARED =
  "The routes are cleared: the main table leads all, and what is listed leaves by its own link " +
  "or not at all, until they are restored or until the next boot.";
const CLEARING =
  "Clearing saves byway's routes and rules and takes them out of the kernel " +
  "until they are restored, or until the next boot.";

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Array}
 */
export function routesTab(state, context) {
  const { trial } = state;
  const tried = trial && trial !== "waits";
  return [
    element(
      "div",
      { class: "columns", key: "columns" },
      card("Test mode", trialCard(state, context)),
      card("Routes", cache(state, context)),
    ),
    tried && trial.ok && card("Canaries", canaries(trial.body)),
  ];
}

function trialCard(state, context) {
  const waits = state.trial === "waits";
  return [
    element(
      "p",
      {},
      "Sends a canary for each kind of selection, and shows by which link it would have left. ",
      "None leaves the machine, and nothing is changed.",
    ),
    element(
      "div",
      { class: "actions" },
      button(waits ? "Testing..." : "Test mode", () => test(context), {
        kind: "primary", id: "test-mode", ...writing(state),
      }),
    ),
    element("div", { role: "status", id: "trial" }, state.trial && !waits && verdict(state.trial)),
  ];
}

function verdict(reply) {
  if (!reply.ok) {
    return refusal(reply.problem);
  }
  const { passed, results, mode } = reply.body;
  const wrong = results.filter((one) => !one.passed).length;
  const text = passed
    ? `Mode ${mode}: each of ${formatCount(results.length, "canary", "canaries")} goes its way.`
    : `Mode ${mode}: ${formatCount(wrong, "canary goes", "canaries go")} astray.`;
  const [kind, title] = passed ? ["success", "Passed"] : ["danger", "Failed"];
  return notice(kind, title, paragraph(text));
}

function canaries({ results, skipped }) {
  return [
    table("Canaries", ["What", "Expected", "Got", "Result"], results.map(canaryRow)),
    skipped.length > 0 && element("h3", {}, "Not tried"),
    skipped.length > 0 &&
      table("Not tried", ["What", "Because"], skipped.map((one, key) => ({
        key, cells: [what(one), one.because],
      }))),
  ];
}

function canaryRow(one, key) {
  return {
    key,
    cells: [
      [what(one), element("span", { class: "meaning" }, `${one.family}, ${one.protocol}`)],
      [expected(one), element("span", { class: "meaning" }, one.because)],
      one.left_by.length ? links(one.left_by) : "blocked",
      one.passed ? badge("success", "right") : [badge("danger", "wrong"), " ", one.problem],
    ],
  };
}

function what({ check, selects }) {
  return [`${check}: `, element("code", {}, selects)];
}

function expected({ expected: wanted, may_be_blocked: blocked }) {
  const by = wanted === null ? "any link" : wanted.length ? links(wanted) : "";
  return [by, by && blocked ? " or " : "", blocked || !by ? "blocked" : ""];
}

function links(names) {
  return element("code", {}, names.join(", "));
}

async function test({ store, requests }) {
  if (store.get().trial === "waits") {
    return;
  }
  store.set({ trial: "waits" });
  store.set({ trial: await requests.send("POST", "/api/v1/traffic/test") });
}

function cache(state, context) {
  const cleared = Boolean(state.status.traffic?.routes_cleared);
  const off = writing(state);
  const change = (verb, done) =>
    propose(context, {
      title: verb === "clear" ? "Clear routes" : "Restore cached routes", method: "POST",
      path: `/api/v1/traffic/routes/${verb}`, done,
    });
  return [
    paragraph(cleared ? CLEARED : CLEARING),
    element(
      "div",
      { class: "actions" },
      button("Clear routes (save cache)", () => change("clear", "The routes are cleared."), {
        kind: "danger", id: "clear-routes", ...off, disabled: off.disabled || cleared,
      }),
      button("Restore cached routes", () => change("restore", "The routes are restored."), {
        id: "restore-routes", ...off, disabled: off.disabled || !cleared,
      }),
    ),
  ];
}
