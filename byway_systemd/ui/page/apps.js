// Tab: what is listed, where it is now, and what it sends.

import { openAddApps } from "./add_apps.js";
import { changeNow } from "./change.js";
import { badge, button, paragraph, table, writing } from "./controls.js";
import { element } from "./dom.js";
import { explainForm } from "./explain.js";
import { formatBytes, formatCount } from "./format.js";
import { card } from "./traffic.js";

const MOST_PIDS = 8;

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Array}
 */
export function appsTab(state, context) {
  return [
    card(
      "Listed apps",
      element(
        "div",
        { class: "actions" },
        button("Add apps...", () => openAddApps(context), {
          kind: "primary", id: "add-apps", ...writing(state),
        }),
      ),
      appTable(state, context),
      placementLine(state.status.placement),
    ),
    card("Processes in byway's slices", processTable(state.status.processes ?? [])),
    card("Explain", explainForm(state, context)),
  ];
}

function appTable(state, context) {
  const processes = state.status.processes ?? [];
  const placements = new Map(processes.map(({ pid, placement }) => [pid, placement]));
  const rows = (state.status.apps ?? []).map((app) => ({
    key: `${app.profile} ${app.app}`,
    cells: [
      element("code", {}, app.app),
      app.profile,
      badge(stateKind(app.state), app.state),
      pids(app.pids, placements),
      sent(state.counters, app.app),
      button("Remove", () => remove(context, app.app), {
        "aria-label": `Remove ${app.app}`, ...writing(state),
      }),
    ],
  }));
  const heads = ["App", "Profile", "State", "Processes", "Bytes by link", ""];
  const empty = "No app is listed. What is listed goes by the direct link.";
  return table("Listed apps", heads, rows, empty);
}

function stateKind(text) {
  if (text === "missing") {
    return "warning";
  }
  return text.startsWith("running") ? "success" : "info";
}

function pids(all, placements) {
  const more = all.length - MOST_PIDS;
  const describe = (pid) => `${pid} (${placements.get(pid) ?? "not placed"})`;
  const shown = all.slice(0, MOST_PIDS).map(describe);
  return all.length ? shown.join(", ") + (more > 0 ? ` and ${more} more` : "") : "–";
}

/** By what programs are caught when they start. */
function placementLine(placement = {}) {
  const parts = Object.entries(placement).map(([name, text]) => `${name} ${text}`);
  const text = parts.join(", ").replaceAll("_", " ");
  return paragraph(`How programs are caught: ${text}.`, "hint");
}

function sent(counters, app) {
  const links = counters?.apps?.find((one) => one.app === app)?.links ?? [];
  if (!links.length) {
    return "–";
  }
  return element(
    "ul",
    { class: "plain" },
    links.map((one) =>
      element(
        "li",
        { key: one.link },
        element("code", {}, one.link),
        `: ${formatBytes(one.sent)} sent, ${formatBytes(one.received)} received, `,
        formatCount(one.connections, "connection"),
      ),
    ),
  );
}

function processTable(processes) {
  const rows = processes.map((one) => ({
    key: one.pid,
    cells: [
      String(one.pid),
      element("code", {}, one.program),
      one.profile,
      one.placement,
      element("code", {}, one.cgroup),
    ],
  }));
  const heads = ["PID", "Program", "Profile", "Placed by", "Cgroup"];
  return table("Processes in byway's slices", heads, rows, "Nothing runs in them now.");
}

function remove(context, app) {
  return changeNow(context, {
    title: `Remove ${app}`,
    method: "DELETE",
    path: `/api/v1/apps?app=${encodeURIComponent(app)}`,
    done: `${app} is not listed any more.`,
  });
}
