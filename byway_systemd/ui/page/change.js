// How anything is changed: the plan first, then for a minute, then for good.

import { button, list, notice, paragraph, refusal, table } from "./controls.js";
import { closeDialog, openDialog } from "./dialog.js";
import { discard } from "./drafts.js";
import { element } from "./dom.js";
import { formatCount, formatProblem } from "./format.js";
import { notePending, readForm } from "./live.js";
import { CONFIRM_SECONDS } from "./requests.js";

const PRECONDITION_FAILED = 412;
const ONLY_WRITTEN = "The system is as it would be; only the configuration is written.";
const TAKEN_BACK =
  `It is applied for ${CONFIRM_SECONDS} seconds, ` +
  "and taken back by byway itself unless you keep it.";

/**
 * @typedef {Object} Change
 * @property {string} title such as `Apply overrides`
 * @property {string} method
 * @property {string} path
 * @property {*} [body]
 * @property {string} [form] that says why it is refused, and is clean when it is done
 * @property {boolean} [guarded] whether what the form was read from must be as it was
 * @property {string} done what is said when it is done
 * @property {function(Object): void} [onRefused] called with the problem
 */

/**
 * Ask for the plan of a change and show it; what is applied then is taken back if it is not kept.
 * @param {Object} context
 * @param {Change} change
 */
export async function propose(context, change) {
  const { store } = context;
  if (store.get().busy) { // what is clicked twice is asked for once
    return;
  }
  const reply = await send(context, change, { dryRun: true });
  if (!reply.ok) {
    await refuse(context, change, reply);
    return;
  }
  forgive(store, change);
  openDialog(store, { kind: "plan", change, plan: reply.body.plan, warnings: reply.body.warnings });
}

/**
 * Change something at once, for good.
 * @param {Object} context
 * @param {Change} change
 * @returns {Promise<boolean>} whether it was done
 */
export async function changeNow(context, change) {
  if (context.store.get().busy) {
    return false;
  }
  const reply = await send(context, change, {});
  return finish(context, change, reply);
}

async function applyPlan(context, change) {
  const reply = await send(context, change, { confirm: CONFIRM_SECONDS });
  closeDialog(context.store);
  if (await finish(context, change, reply)) {
    context.store.set({ focus: { id: "keep" } });
  }
}

async function send({ store, requests }, change, terms) {
  store.set({ busy: change.title, message: null });
  const etag = change.guarded && store.get()[change.form].etag;
  const reply = await requests.send(change.method, change.path, {
    body: change.body,
    etag,
    ...terms,
  });
  store.set({ busy: "" });
  return reply;
}

async function finish(context, change, reply) {
  const { store } = context;
  if (!reply.ok) {
    await refuse(context, change, reply);
    return false;
  }
  forgive(store, change);
  if (change.form) {
    discard(store, change.form);
  }
  store.set({ message: summarize(change, reply.body) });
  notePending(store, reply.body);
  context.look();
  context.readForms();
  return true;
}

function summarize(change, body) {
  const failures = body.failures ?? [];
  const waits = typeof body.unconfirmed === "number"; // the bar says so
  const missing = body.not_restored ?? [];
  if (failures.length) {
    const texts = failures.map((one) => `${one.operation} ${one.object}: ${one.reason}`);
    return { kind: "danger", text: `${change.done} Not all could be done: ${texts.join("; ")}` };
  }
  if (missing.length) {
    return { kind: "warning", text: `${change.done} Not put back: ${missing.join("; ")}` };
  }
  return waits ? null : { kind: "success", text: change.done };
}

/** A refusal stands with its form; without one it is the message. */
async function refuse(context, change, reply) {
  const { store } = context;
  if (reply.status === PRECONDITION_FAILED && change.guarded) {
    await readStale(context, change.form);
    return;
  }
  if (change.form) {
    const { form } = change;
    store.update("refusals", (refusals) => ({ ...refusals, [form]: reply.problem }));
  }
  const text = `${change.title}: refused. ${summarizeProblem(reply.problem)}`;
  store.set({ message: { kind: "danger", text } });
  change.onRefused?.(reply.problem);
}

function summarizeProblem(problem) {
  const count = problem.problems?.length ?? 0;
  return count > 1 ? `${count} values are wrong.` : formatProblem(problem);
}

/** Whatever it was that has changed, the form says so until it is loaded again. */
async function readStale(context, form) {
  const { store } = context;
  await readForm(context, form);
  const state = store.get();
  if (!state.stale[form]) {
    store.set({ stale: { ...state.stale, [form]: state[form] } });
  }
  const text = "Somebody else has changed the configuration meanwhile. Nothing was applied.";
  store.set({ message: { kind: "warning", text }, focus: { id: `${form}-load` } });
}

function forgive(store, change) {
  if (change.form) {
    store.update("refusals", (refusals) => ({ ...refusals, [change.form]: null }));
  }
}

/**
 * The plan of a change, and whether to apply it.
 * @param {Object} state
 * @param {Object} context
 * @returns {{title: string, body: Array, actions: Array}}
 */
export function planDialog(state, context) {
  const { change, plan, warnings } = state.dialog;
  const busy = Boolean(state.busy);
  return {
    title: change.title,
    body: [
      warnings.length > 0 &&
        notice("warning", formatCount(warnings.length, "warning"), list(warnings)),
      plan.length
        ? paragraph(`${formatCount(plan.length, "step")} in the system:`)
        : notice("info", "Nothing to do", paragraph(ONLY_WRITTEN)),
      plan.length > 0 && planTable(plan),
      paragraph(TAKEN_BACK, "hint"),
    ],
    actions: [
      button("Apply", () => applyPlan(context, change), {
        kind: "primary", id: "plan-apply", disabled: busy,
      }),
      button("Cancel", () => closeDialog(context.store)),
    ],
  };
}

function planTable(plan) {
  const rows = plan.map((one, index) => ({
    key: index,
    cells: [element("code", {}, one.operation), element("code", {}, one.object), one.because],
  }));
  return element(
    "div",
    { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Plan" },
    table("Plan", ["Step", "What", "Because"], rows),
  );
}

/**
 * That somebody else has changed what a form shows, or why it was refused.
 * @param {Object} state
 * @param {string} form
 * @param {function(): void} load
 * @returns {Array}
 */
export function formNotices(state, form, load) {
  return [
    state.stale[form] &&
      notice(
        "warning",
        "Somebody else has changed the configuration since this was loaded",
        paragraph("What you typed is kept when it is loaded again."),
        button("Load again", load, { id: `${form}-load` }),
      ),
    refusal(state.refusals[form]),
  ];
}
