// Dialog: apps to list, of those that are installed or run, or by name.

import { changeNow } from "./change.js";
import { button, choice, labelled, paragraph, refusal, searchField, select } from "./controls.js";
import { changeDialog, closeDialog, openDialog } from "./dialog.js";
import { element } from "./dom.js";
import { formatCount, formatProblem } from "./format.js";
import { tabList, tabPanel } from "./tabs.js";
import { splitValues } from "./values.js";

const TABS = [
  ["desktop", "Installed apps"],
  ["programs", "Running programs"],
  ["typed", "By name"],
];
const KINDS =
  "A full path, a pattern such as /opt/vendor/*/bin/app, " +
  "or unit:, user-unit:, desktop:, flatpak: or snap: and a name";
const MOST_SHOWN = 60;

/**
 * Open the dialog, and look for what there is.
 * @param {Object} context
 */
export async function openAddApps(context) {
  const { store, requests } = context;
  const change = openDialog(store, {
    kind: "apps", tab: "desktop", search: "", typed: "", chosen: {}, found: null, problem: null,
    refused: null, profile: "default",
  });
  const reply = await requests.get("/api/v1/programs");
  if (!reply.ok) {
    change({ problem: reply.problem });
    return;
  }
  const chosen = store.get().dialog?.tab; // somebody may have gone on meanwhile
  const none = chosen === "desktop" && !reply.body.desktop.length; // a server has no desktop
  change({ found: reply.body, tab: none ? "programs" : chosen });
  await loadIcons(context);
}

/** Those that are shown, one after the other: the page need not wait for them. */
async function loadIcons({ store, transport }) {
  const { dialog } = store.get();
  if (dialog?.kind !== "apps" || !dialog.found || dialog.tab !== "desktop") {
    return;
  }
  for (const { icon } of matching(dialog, store.get()).slice(0, MOST_SHOWN)) {
    if (icon && !(icon in store.get().icons)) {
      store.update("icons", (icons) => ({ ...icons, [icon]: "" }));
      const image = await transport.image(`/api/v1/icons/${encodeURIComponent(icon)}`);
      store.update("icons", (icons) => ({ ...icons, [icon]: image }));
    }
  }
}

/** What can be listed, is not yet, and is searched for: the entry, its name and what it is. */
function matching(dialog, state) {
  const listed = new Set((state.status?.apps ?? []).map(({ app }) => app));
  const wanted = dialog.search.toLowerCase();
  const all =
    dialog.tab === "desktop"
      ? dialog.found.desktop.map(({ app, name, id, icon }) => ({ app, name, what: id, icon }))
      : dialog.found.programs.map(({ program, pids, users }) => ({
          app: program,
          name: program,
          what: `${users.join(", ")}; ${formatCount(pids.length, "process", "processes")}`,
        }));
  return all.filter(
    ({ app, name, what }) =>
      !listed.has(app) && `${app} ${name} ${what}`.toLowerCase().includes(wanted),
  );
}

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {{title: string, body: Array, actions: Array}}
 */
export function addAppsDialog(state, context) {
  const { store } = context;
  const { dialog } = state;
  const apps = [
    ...Object.keys(dialog.chosen).filter((app) => dialog.chosen[app]),
    ...splitValues(dialog.typed),
  ];
  const choose = (tab) => {
    changeDialog(store, { tab, search: "" });
    loadIcons(context);
  };
  return {
    title: "Add apps",
    body: [
      tabList("apps", "Where from", TABS, dialog.tab, choose),
      tabPanel("apps", dialog.tab, shown(state, context)),
      profileChoice(state, store),
      dialog.refused && refusal(dialog.refused),
      element("p", { role: "status", class: "hint" }, `${formatCount(apps.length, "app")} chosen.`),
    ],
    actions: [
      button("Add", () => add(context, [...new Set(apps)]), {
        kind: "primary", id: "apps-add", disabled: !apps.length,
      }),
      button("Cancel", () => closeDialog(store)),
    ],
  };
}

function shown(state, context) {
  const { dialog } = state;
  return dialog.tab === "typed" ? typed(context.store, dialog) : found(state, context);
}

/** By which way out; most have only one. */
function profileChoice({ status, dialog }, store) {
  const names = (status?.profiles ?? []).map(({ name }) => name);
  const attributes = {
    id: "apps-profile", value: dialog.profile,
    onchange: (event) => changeDialog(store, { profile: event.target.value }),
  };
  const options = names.map((name) => [name, name]);
  return names.length > 1 && labelled("Profile", select(attributes, options));
}

function typed(store, dialog) {
  return labelled(
    "Apps, one per line",
    element("textarea", {
      id: "apps-typed", rows: "6", spellcheck: "false", value: dialog.typed,
      "aria-describedby": "apps-typed-hint",
      oninput: (event) => changeDialog(store, { typed: event.target.value, refused: null }),
    }),
    KINDS,
  );
}

function found(state, context) {
  const { store } = context;
  const { dialog } = state;
  if (dialog.problem) {
    return refusal(dialog.problem);
  }
  if (!dialog.found) {
    return paragraph("Looking...", "candidates empty");
  }
  const all = matching(dialog, state);
  const more = all.length - MOST_SHOWN;
  const search = (text) => {
    changeDialog(store, { search: text });
    loadIcons(context);
  };
  return [
    searchField("apps-search", "Search", dialog.search, search),
    element(
      "div",
      { class: "candidates", role: "group", "aria-label": "What can be added", tabindex: "0" },
      all.slice(0, MOST_SHOWN).map((one) => candidate(state, store, one)),
      more > 0 && paragraph(`${more} more: search to see them.`, "empty"),
      !all.length && paragraph("Nothing that is not listed yet.", "empty"),
    ),
  ];
}

function candidate({ dialog, icons }, store, { app, name, what, icon }) {
  const attributes = {
    type: "checkbox", id: `add-${app}`, checked: Boolean(dialog.chosen[app]),
    onchange: (event) =>
      changeDialog(store, {
        chosen: { ...dialog.chosen, [app]: event.target.checked }, refused: null,
      }),
  };
  const label = [
    icon !== undefined && image(icons[icon]),
    name === app ? element("code", {}, name) : name,
  ];
  const node = choice(attributes, label, what);
  node.key = app;
  return node;
}

function image(source) {
  return source
    ? element("img", { class: "icon", src: source, alt: "" })
    : element("span", { class: "icon" });
}

async function add(context, apps) {
  const { store } = context;
  const { profile } = store.get().dialog;
  let refused = null;
  const done = await changeNow(context, {
    title: "Add apps",
    method: "POST",
    path: "/api/v1/apps",
    body: profile === "default" ? apps : { app: apps, profile },
    done: `${formatCount(apps.length, "app is", "apps are")} listed.`,
    onRefused: (problem) => {
      const index = /\[(\d+)\]/.exec(problem.key)?.[1];
      const value = index === undefined ? "" : `${apps[index]}: `;
      refused = { detail: value + formatProblem(problem) };
    },
  });
  if (done) {
    closeDialog(store);
  } else {
    changeDialog(store, { refused });
    store.set({ message: null });
  }
}
