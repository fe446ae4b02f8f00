// Dialog: what there is on this machine that the overrides could list. It only fills the fields.

import { button, choice, notice, paragraph, refusal, searchField } from "./controls.js";
import { changeDialog, closeDialog, openDialog } from "./dialog.js";
import { draftOf, SIDES, type } from "./drafts.js";
import { element } from "./dom.js";
import { formatCount } from "./format.js";
import { tabList, tabPanel } from "./tabs.js";
import { addValues } from "./values.js";

const TABS = [["subnets", "Subnets"], ["cgroups", "Services"], ["uids", "UIDs"]];
const MOST_SHOWN = 200;

/**
 * Open the dialog, and look for what there is.
 * @param {Object} context
 */
export async function openDetected({ store, requests }) {
  const change = openDialog(store, {
    kind: "detected", tab: "subnets", search: "", side: "force_direct", chosen: {}, found: null,
    problem: null,
  });
  const reply = await requests.get("/api/v1/traffic/candidates");
  change(reply.ok ? { found: reply.body } : { problem: reply.problem });
}

/** What can be listed of each kind: the value, and what it is. */
function candidatesOf(found, tab) {
  switch (tab) {
    case "subnets":
      return found.subnets.map(({ subnet, link, kind }) => [
        subnet, `${kind === "lan" ? "LAN" : kind}, ${link}`,
      ]);
    case "cgroups":
      return found.units.map(({ unit, cgroup }) => [cgroup, unit]);
    default:
      return found.users.map(({ uid, user, programs }) => [
        String(uid), [user, programs.join(", ")].filter(Boolean).join(": "),
      ]);
  }
}

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {{title: string, body: Array, actions: Array}}
 */
export function detectedDialog(state, context) {
  const { store } = context;
  const { dialog } = state;
  const count = Object.values(dialog.chosen).filter(Boolean).length;
  return {
    title: "Add detected",
    body: [
      paragraph("This only fills the fields. Nothing changes until Apply overrides.", "hint"),
      sideChoice(store, dialog),
      element(
        "div",
        { class: "actions" },
        (dialog.found?.presets ?? []).map((one) => preset(store, dialog, one)),
      ),
      tabList("detected", "Kinds", TABS, dialog.tab, (tab) => changeDialog(store, { tab })),
      tabPanel("detected", dialog.tab, found(store, dialog)),
      element("p", { role: "status", class: "hint" }, `${formatCount(count, "value")} chosen.`),
    ],
    actions: [
      button("Fill the fields", () => fill(store, dialog), {
        kind: "primary", id: "detected-fill", disabled: !count,
      }),
      button("Cancel", () => closeDialog(store)),
    ],
  };
}

function sideChoice(store, dialog) {
  return element(
    "fieldset",
    { class: "inline" },
    element("legend", {}, "Into which side"),
    Object.entries(SIDES).map(([side, { label }]) =>
      choice(
        {
          type: "radio", name: "side", id: `side-${side}`, value: side,
          checked: dialog.side === side, onchange: () => changeDialog(store, { side }),
        },
        label,
      ),
    ),
  );
}

/** A preset chooses its subnets, for the side that it is meant for. */
function preset(store, dialog, { name, subnets }) {
  const chosen = Object.fromEntries(subnets.map((subnet) => [`subnets ${subnet}`, true]));
  return button(
    name,
    () =>
      changeDialog(store, {
        tab: "subnets", side: "force_direct", search: "", chosen: { ...dialog.chosen, ...chosen },
      }),
    { disabled: !subnets.length, title: subnets.join(", ") || "There are none now" },
  );
}

function found(store, dialog) {
  if (dialog.problem) {
    return refusal(dialog.problem);
  }
  if (!dialog.found) {
    return paragraph("Looking...", "candidates empty");
  }
  const wanted = dialog.search.toLowerCase();
  const all = candidatesOf(dialog.found, dialog.tab);
  const matching = all.filter(([value, what]) => `${value} ${what}`.toLowerCase().includes(wanted));
  return [
    searchField("detected-search", "Search", dialog.search, (search) =>
      changeDialog(store, { search }),
    ),
    element(
      "div",
      { class: "candidates", role: "group", "aria-label": "What was detected", tabindex: "0" },
      matching.slice(0, MOST_SHOWN).map(([value, what]) => candidate(store, dialog, value, what)),
      matching.length > MOST_SHOWN &&
        notice("info", `${matching.length - MOST_SHOWN} more`, " Search to see them."),
      !matching.length && paragraph(all.length ? "Nothing matches." : "None was found.", "empty"),
    ),
  ];
}

function candidate(store, dialog, value, what) {
  const name = `${dialog.tab} ${value}`;
  const set = (event) =>
    changeDialog(store, { chosen: { ...dialog.chosen, [name]: event.target.checked } });
  const attributes = {
    type: "checkbox", id: `detected ${name}`.replaceAll(" ", "-"),
    checked: Boolean(dialog.chosen[name]), onchange: set,
  };
  const node = choice(attributes, element("code", {}, value), what);
  node.key = name;
  return node;
}

function fill(store, dialog) {
  const draft = draftOf(store.get(), "overrides");
  const changes = {};
  for (const [field] of TABS) {
    const chosen = Object.entries(dialog.chosen)
      .filter(([name, is]) => is && name.startsWith(`${field} `))
      .map(([name]) => name.slice(field.length + 1));
    if (chosen.length) {
      const key = `${dialog.side}.${field}`;
      changes[key] = addValues(draft[key], chosen);
    }
  }
  type(store, "overrides", changes);
  const text = "The fields are filled. Nothing changes until Apply overrides.";
  closeDialog(store);
  store.set({ message: { kind: "info", text } });
}
