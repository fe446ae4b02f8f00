// The status line: whether all is as it should be, in a few numbers.

import { badge } from "./controls.js";
import { element } from "./dom.js";
import { formatCount } from "./format.js";

/**
 * @param {Object} state
 * @returns {Element}
 */
export function statusLine(state) {
  const shown = state.connection === "up" && state.status;
  return element(
    "dl",
    { class: "status", id: "status" },
    facts(shown ? state.status : null).map(([name, value]) =>
      element(
        "div",
        { key: name },
        element("dt", {}, name),
        element("dd", {}, shown ? value : element("span", { class: "unknown" }, "–")),
      ),
    ),
  );
}

function facts(status) {
  const traffic = status?.traffic ?? {};
  const warnings = (status?.warnings ?? []).length + (status?.config_problems ?? []).length;
  return [
    ["State", inSync(status)],
    ["Desired mode", element("code", {}, traffic.mode ?? "–")],
    ["Applied mode", element("code", {}, traffic.applied_mode ?? "not in force")],
    ["Bypass routes", traffic.bypass_routes ?? 0],
    ["Overrides", traffic.override_count ?? 0],
    ["Resolved cgroups", cgroups(traffic)],
    ["Warnings", warnings ? badge("warning", String(warnings)) : "0"],
  ];
}

function inSync(status) {
  if (status?.config_problems?.length) {
    return badge("danger", "configuration refused");
  }
  if (status?.traffic?.routes_cleared) {
    return badge("warning", "routes cleared");
  }
  return status?.in_sync ? badge("success", "in sync") : badge("warning", "not in sync");
}

function cgroups(traffic) {
  const warnings = traffic.cgroup_warnings ?? [];
  const note = formatCount(warnings.length, "warning");
  return [
    String(traffic.resolved_cgroups ?? 0),
    warnings.length > 0 && [" ", badge("warning", note)],
  ];
}

/**
 * What a screen reader says when something has changed.
 * @param {Object} state
 * @returns {string}
 */
export function spokenStatus(state) {
  if (state.connection === "down") {
    return "byway does not answer.";
  }
  if (!state.status) {
    return "";
  }
  const { in_sync: inSyncNow, traffic, warnings, config_problems: problems } = state.status;
  const sync = inSyncNow ? "In sync" : "Not in sync";
  const count = formatCount((warnings ?? []).length + (problems ?? []).length, "warning");
  const applied = traffic?.applied_mode ?? "not yet";
  return `${sync}. Mode ${traffic?.mode}, in force: ${applied}. ${count}.`;
}
