// byway's settings page: put together, and drawn whenever the state changes.

import { addAppsDialog } from "./add_apps.js";
import { appsTab } from "./apps.js";
import { bottom, secondsLeft } from "./bottom.js";
import { bypassTab, clearDialog } from "./bypass_list.js";
import { planDialog } from "./change.js";
import { notice } from "./controls.js";
import { detectedDialog } from "./detected.js";
import { dialogDrawer } from "./dialog.js";
import { element, patchChildren } from "./dom.js";
import { logTab } from "./event_log.js";
import { follow } from "./live.js";
import { overridesTab } from "./overrides.js";
import { overviewTab } from "./overview.js";
import { createRequests } from "./requests.js";
import { routesTab } from "./routes.js";
import { spokenStatus, statusLine } from "./status_line.js";
import { createStore, initialState } from "./store.js";
import { tabList, tabPanel } from "./tabs.js";
import { trafficTab } from "./traffic.js";
import { connect } from "./transport.js";

const TABS = {
  overview: ["Overview", overviewTab],
  traffic: ["Traffic mode", trafficTab],
  overrides: ["Policy overrides (Advanced)", overridesTab],
  apps: ["Apps", appsTab],
  bypass: ["Bypass list", bypassTab],
  routes: ["Routes", routesTab],
  log: ["Event log", logTab],
};
const SPOKEN_AT = [60, 30, 10]; // seconds left
const PAUSE = 2000;

function shell(state, context) {
  if (state.connection === "connecting") {
    return null;
  }
  const tabs = Object.entries(TABS).map(([name, [text]]) => [name, text]);
  const up = state.connection === "up";
  const choose = (tab) => {
    context.store.set({ tab, message: null });
    context.readForms();
  };
  return [
    element(
      "header",
      { class: "top", key: "top" },
      element("h1", {}, "byway", element("span", { class: "version" }, state.status?.version)),
      statusLine(state),
    ),
    up
      ? element(
          "main",
          { key: "main" },
          tabList("main", "Settings", tabs, state.tab, choose),
          state.access === "read" && accessHint(state),
          tabPanel("main", state.tab, TABS[state.tab][1](state, context)),
        )
      : element("main", { key: "down" }, downPanel(state)),
  ];
}

function accessHint({ accessHint: hint }) {
  return element("p", { class: "access", id: "access-hint", key: "access" }, `Read only: ${hint}`);
}

function downPanel({ downReason }) {
  return notice(
    "danger",
    "byway does not answer",
    element("p", {}, downReason || "Nothing listens on its socket."),
    element("p", {}, "Start it, or see why it does not run:"),
    element("pre", {}, "systemctl start byway\njournalctl -u byway"),
    element("p", {}, "This page connects again by itself. What was typed is kept."),
  );
}

function spoken(state) {
  if (state.pending) {
    const left = secondsLeft(state);
    const said = SPOKEN_AT.findLast((seconds) => left <= seconds) ?? left;
    return `Changed for now: about ${said} seconds are left to keep it.`;
  }
  return spokenStatus(state);
}

function drawer(context) {
  const { store } = context;
  const place = (id) => document.getElementById(id);
  const drawDialog = dialogDrawer(place("dialog"), store, {
    plan: (state) => planDialog(state, context),
    detected: (state) => detectedDialog(state, context),
    apps: (state) => addAppsDialog(state, context),
    clear: (state) => clearDialog(state, context),
  });
  return (state) => {
    const parts = shell(state, context);
    if (parts) {
      patchChildren(place("page"), parts);
      patchChildren(place("spoken"), [spoken(state)]);
      patchChildren(place("said"), [state.message?.text]);
      patchChildren(place("bottom"), bottom(state, context));
      drawDialog(state);
    }
    measure(store);
    moveFocus(store, state);
  };
}

/** The picture is drawn for the width that there is: its letters keep their size. */
function measure(store) {
  const width = document.getElementById("picture")?.clientWidth;
  if (width && width !== store.get().width) {
    store.set({ width });
  }
}

function moveFocus(store, { focus, dialog }) {
  if (!focus || dialog) {
    return;
  }
  store.set({ focus: null });
  const target = document.getElementById(focus.id);
  target?.focus();
  if (target && focus.start !== undefined) {
    target.setSelectionRange(focus.start, focus.end);
  }
}

/** What is scrolled to is not to be behind what stands at the bottom. */
function keepClear([{ target }]) {
  document.documentElement.style.setProperty("scroll-padding-bottom", `${target.offsetHeight}px`);
}

async function reach(store) {
  for (;;) {
    try {
      return await connect();
    } catch (error) {
      store.set({ connection: "down", downReason: error.message });
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

async function start() {
  const store = createStore(initialState());
  const context = { store };
  store.subscribe(drawer(context));
  new ResizeObserver(() => measure(store)).observe(document.body);
  new ResizeObserver(keepClear).observe(document.getElementById("bottom"));
  const transport = await reach(store);
  const silent = (reason) => store.set({ connection: "down", downReason: reason });
  Object.assign(context, { transport, requests: createRequests(transport, silent) });
  transport.onTheme((theme) => {
    document.documentElement.dataset.theme = theme;
  });
  transport.onAccess((access) => store.set({ access, accessHint: transport.accessHint }));
  follow(context);
}

start();
