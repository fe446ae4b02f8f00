// What is there now: read when byway answers, and again when its events say that it has changed.

import { forms } from "./drafts.js";

const SHORTEST_PAUSE = 500; // between two looks at the status, in milliseconds
const COUNTERS_PAUSE = 2000;
const RETRY_PAUSE = 2000; // one request may fail while the events go on
const ACCESS_PATIENCE = 1000; // the page is shown without knowing who may change things, then
const ROUNDING = 1500; // byway tells whole seconds
const MOST_LOGGED = 500;
const OF_COUNTERS = new Set(["overview", "apps"]);
const FORMS = {
  mode: "/api/v1/traffic/mode",
  settings: "/api/v1/settings",
  overrides: "/api/v1/traffic/overrides",
  bypass: "/bypass",
};

/**
 * Follow what happens, until the page is closed.
 * @param {Object} context with store, requests and transport; it gets look and readForms, which
 *   read what there is now
 */
export function follow(context) {
  const { store } = context;
  const look = sparingly(() => readStatus(context), SHORTEST_PAUSE);
  const readForms = sparingly(() => readAllForms(context), SHORTEST_PAUSE);
  context.look = look;
  context.readForms = readForms;
  context.access = Promise.race([
    new Promise((resolve) => context.transport.onAccess(resolve)),
    new Promise((resolve) => setTimeout(resolve, ACCESS_PATIENCE)),
  ]);
  context.transport.events({
    onUp: () => arrive(context),
    onDown: (reason) => leave(context, reason),
    onEvent: (kind, value) => {
      note(context, kind, value);
      if (kind === "state") {
        notePending(store, value);
      }
      look();
      if (kind === "config" || kind === "mode") {
        readForms();
      }
    },
  });
  setInterval(() => store.get().connection !== "up" && arrive(context), RETRY_PAUSE);
  setInterval(() => tick(context), 1000);
  setInterval(() => readCounters(context), COUNTERS_PAUSE);
}

/** Run at once, and not again before a pause is over; what is asked for meanwhile is run once. */
function sparingly(run, pause) {
  let resting = false;
  let wanted = false;
  async function start() {
    if (resting) {
      wanted = true;
      return;
    }
    resting = true;
    setTimeout(() => {
      resting = false;
      if (wanted) {
        wanted = false;
        start();
      }
    }, pause);
    await run();
  }
  return start;
}

async function arrive(context) {
  const { store } = context;
  const reads = [readStatus(context), readAllForms(context), readCounters(context, true)];
  await Promise.all([...reads, context.access]); // what comes later moves what is there
  if (store.get().status && store.get().connection !== "up") {
    logEntry(store, "connection", "byway answers");
    store.set({ connection: "up", downReason: "" });
  }
}

function leave({ store }, reason) {
  if (store.get().connection !== "down") {
    logEntry(store, "connection", `byway does not answer: ${reason}`);
  }
  store.set({ connection: "down", downReason: reason, status: null, pending: null, message: null });
}

async function readStatus(context) {
  const { store, requests } = context;
  const reply = await requests.get("/api/v1/status");
  if (!reply.ok) {
    return;
  }
  store.set({ status: reply.body });
}

/**
 * Take over what a state or a change says of what waits to be confirmed.
 * @param {Object} store
 * @param {{unconfirmed: ?number}} body
 */
export function notePending(store, body) {
  if (body.unconfirmed === undefined) {
    return;
  }
  const { pending } = store.get();
  if (body.unconfirmed === null) {
    if (pending && Date.now() > pending.deadline - ROUNDING) {
      expire(store);
    }
    store.set({ pending: null });
    return;
  }
  const deadline = Date.now() + body.unconfirmed * 1000;
  if (!pending || Math.abs(pending.deadline - deadline) > ROUNDING) {
    store.set({ pending: { deadline }, now: Date.now() });
  }
}

function expire(store) {
  const text = "Not kept in time: byway has taken the changes back.";
  store.set({ pending: null, message: { kind: "warning", text } });
}

async function readAllForms(context) {
  const { tab } = context.store.get();
  // The bypass list may be long.
  const names = Object.keys(FORMS).filter((name) => name !== "bypass" || tab === "bypass");
  await Promise.all(names.map((name) => readForm(context, name)));
}

/**
 * Read what a form shows. What is typed stays; where it was about something else, it is stale.
 * @param {Object} context
 * @param {string} name mode, settings, overrides or bypass
 */
export async function readForm({ store, requests }, name) {
  const reply = await requests.get(FORMS[name]);
  if (!reply.status) {
    return;
  }
  const before = store.get()[name];
  const after = { value: reply.ok ? reply.body : null, etag: reply.etag, problem: reply.problem };
  const { drafts } = store.get();
  const draftText = ({ value }) => JSON.stringify(forms[name].start(value));
  const other = before.value && draftText(before) !== draftText(after);
  if (other && drafts[name] && forms[name].isEdited(drafts[name], before.value)) {
    store.update("stale", (stale) => ({ ...stale, [name]: after }));
    return;
  }
  if (other && !forms[name].keeps) {
    store.set({ drafts: { ...drafts, [name]: undefined } });
  }
  store.set({ [name]: after });
  store.update("stale", (stale) => ({ ...stale, [name]: undefined }));
}

async function readCounters({ store, requests }, always = false) {
  const { connection, tab } = store.get();
  const shown = connection === "up" && OF_COUNTERS.has(tab) && !document.hidden;
  if (always || shown) {
    const reply = await requests.get("/api/v1/counters");
    if (reply.ok) {
      store.set({ counters: reply.body });
    }
  }
}

function note({ store }, kind, value) {
  if (kind !== "state") {
    logEntry(store, kind, describe(kind, value));
  }
}

function describe(kind, value) {
  switch (kind) {
    case "mode":
      return `mode ${value.mode}, in force: ${value.applied_mode ?? "not yet"}`;
    case "config":
      return value.problems.length
        ? `configuration refused: ${value.problems.join("; ")}`
        : "configuration loaded";
    case "failure":
      return `${value.operation} ${value.object}: ${value.reason}`;
    default:
      return `${value.operation} ${value.object} (${value.because})`;
  }
}

let entries = 0;

function logEntry(store, kind, text) {
  entries += 1;
  const entry = { id: entries, time: Date.now(), kind, text };
  store.update("log", (log) => [entry, ...log].slice(0, MOST_LOGGED));
}

function tick({ store, look, readForms }) {
  const { pending } = store.get();
  if (!pending) {
    return;
  }
  store.set({ now: Date.now() });
  if (Date.now() > pending.deadline + ROUNDING) {
    expire(store);
    look();
    readForms();
  }
}
