// Tab: where traffic goes now, by which links, and what is wrong.

import { badge, list, notice, paragraph, table } from "./controls.js";
import { element } from "./dom.js";
import { formatBytes, formatCount } from "./format.js";
import { picture } from "./picture.js";
import { card } from "./traffic.js";

const ROLES = { direct: "direct link", vpn: "VPN", other: "other" };

/**
 * @param {Object} state
 * @returns {Array}
 */
export function overviewTab(state) {
  return [
    card("Where traffic goes now", picture(state)),
    element(
      "div",
      { class: "columns", key: "columns" },
      card("Links", linkTable(state)),
      card("Warnings", warnings(state.status)),
    ),
  ];
}

function linkTable({ status, counters }) {
  if (counters) {
    const rows = counters.links.map((one) => ({
      key: one.link,
      cells: [
        element("code", {}, one.link),
        ROLES[one.role],
        linkState(one.state),
        formatBytes(one.sent),
        formatBytes(one.received),
      ],
    }));
    return table("Links", ["Link", "Role", "State", "Sent", "Received"], rows);
  }
  const rows = (status.profiles ?? []).map((one) => ({
    key: one.name,
    cells: [element("code", {}, one.link ?? one.interface), one.name, linkState(one.state)],
  }));
  return table("Links", ["Link", "Profile", "State"], rows);
}

function linkState(text) {
  return badge(text === "up" ? "success" : "warning", text);
}

function warnings(status) {
  const { config_problems: problems = [], failures = [] } = status;
  const all = [...(status.warnings ?? []), ...(status.traffic?.cgroup_warnings ?? [])];
  const found = [...new Set(all)];
  if (!problems.length && !failures.length && !found.length) {
    return paragraph("None.", "empty");
  }
  return [
    problems.length > 0 &&
      notice("danger", "The configuration is refused; the last good one stays", list(problems)),
    failures.length > 0 && notice("danger", "What could not be done", list(failures)),
    found.length > 0 && notice("warning", formatCount(found.length, "warning"), list(found)),
  ];
}
