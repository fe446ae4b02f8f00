// Where traffic goes now, as values: what it is of, the links, and the lines between them.

import { formatBytes, formatCount } from "./format.js";

const MOST_APPS = 8;

/**
 * @typedef {Object} Line
 * @property {string} from what goes this way
 * @property {string} detail
 * @property {string} verdict direct, vpn, main, near or blocked
 * @property {string} to the link's id; empty where it ends before any
 * @property {string} because
 */

/**
 * @param {Object} state with a status
 * @returns {{lines: Line[], links: Array<{id: string, name: string, detail: string}>}}
 */
export function pictureModel(state) {
  const { status } = state;
  const vpn = findVpn(state);
  const exits = Object.fromEntries((status.profiles ?? []).map((one) => [one.name, one]));
  const lines = [
    ...appLines(status, exits, vpn),
    ...forcedLines(status, exits.default, vpn),
    ...restLines(state, exits.default, vpn),
  ];
  const used = new Set(lines.map(({ to }) => to));
  const links = linksOf(state, exits, vpn);
  return { lines, links: links.filter(({ id }) => used.has(id) || !["main", "near"].includes(id)) };
}

/** The VPN's link as the status has it, else the first tunnel that there is. */
function findVpn({ status, counters, settings }) {
  const known = status.traffic?.vpn;
  if (known) {
    return { link: known.link, up: known.usable, whenDown: known.when_down };
  }
  const whenDown = settings.value?.when_vpn_down ?? "block";
  const counted = counters?.links?.find(({ role }) => role === "vpn");
  const found = counted ?? settings.value?.interfaces.find(({ kind }) => kind === "tunnel");
  return { link: found?.link ?? null, up: found?.state === "up", whenDown };
}

function appLines(status, exits, vpn) {
  const apps = status.apps ?? [];
  const lines = apps.slice(0, MOST_APPS).map((app) => ({
    from: shorten(app.app),
    detail: app.pids.length ? formatCount(app.pids.length, "process", "processes") : app.state,
    ...byExit(exits[app.profile], vpn, "it is listed"),
  }));
  if (apps.length > MOST_APPS) {
    const way = byExit(exits.default, vpn, "they are listed");
    lines.push({ from: `${apps.length - MOST_APPS} more apps`, detail: "", ...way });
  }
  return lines;
}

/** What belongs to a profile goes by its link; while that is down, as when_down says. */
function byExit(exit, vpn, because) {
  if (!exit || exit.state === "up") {
    return { verdict: "direct", to: exit?.name ?? "", because };
  }
  const down = `${because}, and ${exit.interface} is ${exit.state}`;
  return exit.when_down === "block" || !vpn.link
    ? { verdict: "blocked", to: "", because: down }
    : { verdict: "vpn", to: "vpn", because: down };
}

/** What is for the VPN goes by it; while that is down, as when_vpn_down says. */
function byVpn(exit, vpn, because) {
  if (vpn.up) {
    return { verdict: "vpn", to: "vpn", because };
  }
  const down = `${because}, and the VPN is down`;
  return vpn.whenDown === "direct"
    ? { ...byExit(exit, vpn, down) }
    : { verdict: "blocked", to: "", because: down };
}

function forcedLines(status, exit, vpn) {
  const sides = status.traffic?.overrides;
  if (!sides) {
    return [];
  }
  const { destinations, ...direct } = sides.force_direct;
  return [
    total(direct) && {
      from: "Force Direct", detail: describeCounts(direct),
      ...byExit(exit, vpn, "it is forced direct"),
    },
    destinations && {
      from: "Bypass list", detail: formatCount(destinations, "destination"),
      ...byExit(exit, vpn, "it never uses the VPN"),
    },
    total(sides.force_vpn) && {
      from: "Force VPN", detail: describeCounts(sides.force_vpn),
      ...byVpn(exit, vpn, "it is forced to the VPN"),
    },
  ].filter(Boolean);
}

function restLines(state, exit, vpn) {
  const { mode, routes_cleared: cleared } = state.status.traffic ?? {};
  const way = restWay(mode, cleared, exit, vpn);
  const lines = [{ from: "Everything else", detail: mode ?? "", ...way }];
  if (state.settings.value?.auto_local_bypass) {
    lines.push({
      from: "Near networks", detail: "auto-local bypass", verdict: "near", to: "near",
      because: "what is near stays reachable",
    });
  }
  return lines;
}

function restWay(mode, cleared, exit, vpn) {
  const because = `the mode is ${mode}`;
  if (cleared || !mode || mode === "bypass") {
    const why = `${cleared ? "the routes are cleared" : because}: the main table decides`;
    return { verdict: "main", to: vpn.up ? "vpn" : "main", because: why };
  }
  return mode === "full_tunnel" ? byVpn(exit, vpn, because) : byExit(exit, vpn, because);
}

function linksOf({ counters }, exits, vpn) {
  const bytes = (link) => {
    const found = counters?.links?.find((one) => one.link === link);
    return found ? formatBytes(found.sent + found.received) : "";
  };
  const links = Object.values(exits).map((exit) => ({
    id: exit.name,
    name: exit.link ?? exit.interface,
    detail: ["direct", exit.state, bytes(exit.link)].filter(Boolean).join(", "),
  }));
  if (vpn.link) {
    const detail = ["VPN", vpn.up ? "up" : "down", bytes(vpn.link)].filter(Boolean).join(", ");
    links.push({ id: "vpn", name: vpn.link, detail });
  }
  links.push({ id: "main", name: "main table", detail: "the system's own routes" });
  links.push({ id: "near", name: "near", detail: "LAN, containers" });
  return links;
}

function total(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

const ONES = { subnets: "subnet", uids: "UID", cgroups: "cgroup", destinations: "destination" };

function describeCounts(counts) {
  return Object.entries(counts)
    .filter(([, count]) => count)
    .map(([name, count]) => formatCount(count, ONES[name]))
    .join(", ");
}

/** A path's last part tells programs apart well enough. */
function shorten(app) {
  return app.startsWith("/") ? app.slice(app.lastIndexOf("/") + 1) || app : app;
}
