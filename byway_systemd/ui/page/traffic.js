// Tab: the mode, and which links there are to choose between.

import { formNotices, propose } from "./change.js";
import { button, choice, labelled, notice, select, writing } from "./controls.js";
import { discard, draftOf, isEdited, takeOver, type } from "./drafts.js";
import { element } from "./dom.js";
import { formatProblem, MODES } from "./format.js";

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Array}
 */
export function trafficTab(state, context) {
  const forms = [modeForm(state, context), settingsForm(state, context)];
  return [element("div", { class: "columns", key: "columns" }, forms)];
}

/**
 * In the place of a form that may not be read.
 * @param {Object} state
 * @param {string} form
 * @returns {Element|null}
 */
export function unread(state, form) {
  const { problem } = state[form];
  return problem && notice("warning", "Cannot be read", element("p", {}, formatProblem(problem)));
}

function modeForm(state, context) {
  const { store } = context;
  const draft = draftOf(state, "mode");
  const off = writing(state);
  if (!state.mode.value) {
    return card("Traffic mode", unread(state, "mode"));
  }
  return card(
    "Traffic mode",
    formNotices(state, "mode", () => takeOver(store, "mode")),
    element(
      "fieldset",
      { disabled: off.disabled, "aria-describedby": off["aria-describedby"] },
      element("legend", {}, "Where traffic goes that nothing else decides about"),
      Object.entries(MODES).map(([mode, meaning]) =>
        choice(
          {
            type: "radio", name: "mode", id: `mode-${mode}`, value: mode,
            checked: draft.mode === mode, onchange: () => type(store, "mode", { mode }),
          },
          element("code", {}, mode),
          meaning,
        ),
      ),
    ),
    element(
      "fieldset",
      { disabled: off.disabled },
      element("legend", {}, "For how long"),
      lasting(draft, store, false, "For good"),
      lasting(draft, store, true, "Until the next boot"),
    ),
    formButtons(state, context, "mode", "Apply mode", () => ({
      method: "PUT", path: "/api/v1/traffic/mode", done: "The mode is set.", body: draft,
    })),
  );
}

function lasting(draft, store, runtime, label) {
  return choice(
    {
      type: "radio", name: "runtime", id: `runtime-${runtime}`, value: String(runtime),
      checked: draft.runtime === runtime, onchange: () => type(store, "mode", { runtime }),
    },
    label,
  );
}

function settingsForm(state, context) {
  const { store } = context;
  if (!state.settings.value) {
    return card("Links", unread(state, "settings"));
  }
  const draft = draftOf(state, "settings");
  const off = writing(state);
  const set = (changes) => type(store, "settings", changes);
  return card(
    "Links",
    formNotices(state, "settings", () => takeOver(store, "settings")),
    element(
      "fieldset",
      { disabled: off.disabled, "aria-describedby": off["aria-describedby"] },
      element("legend", {}, "Preferred interfaces"),
      linkChoice(state, draft, set, "interface"),
      linkChoice(state, draft, set, "vpn_interface"),
    ),
    element(
      "fieldset",
      { disabled: off.disabled },
      element("legend", {}, "Near networks"),
      choice(
        {
          type: "checkbox", id: "auto-local-bypass", checked: draft.auto_local_bypass,
          onchange: (event) => set({ auto_local_bypass: event.target.checked }),
        },
        "Auto-local bypass (LAN/container subnets)",
        "In every mode what is near stays reachable without the VPN.",
      ),
    ),
    downChoice(draft, set, off),
    formButtons(state, context, "settings", "Apply settings", () => ({
      method: "PATCH", path: "/api/v1/settings", done: "The settings are set.",
      body: changed(draft, state.settings.value),
    })),
  );
}

const LINKS = {
  interface: ["Direct link", "uplink", "auto: the best link that is not a VPN"],
  vpn_interface: ["VPN link", "tunnel", "auto: the tunnel that there is"],
};

function linkChoice(state, draft, set, name) {
  const [label, wanted, hint] = LINKS[name];
  const links = state.settings.value.interfaces;
  const first = links.filter((link) => link.kind === wanted);
  const rest = links.filter((link) => link.kind !== wanted);
  const options = [
    ["auto", "auto"],
    ...[...first, ...rest].map((link) => [link.link, `${link.link} (${link.kind}, ${link.state})`]),
  ];
  if (!options.some(([value]) => value === draft[name])) {
    options.push([draft[name], `${draft[name]} (absent)`]);
  }
  const attributes = {
    id: `settings-${name}`, value: draft[name], "aria-describedby": `settings-${name}-hint`,
    onchange: (event) => set({ [name]: event.target.value }),
  };
  return labelled(label, select(attributes, options), hint);
}

function downChoice(draft, set, off) {
  const meanings = {
    block: ["Block it", "What is for the VPN goes nowhere until the VPN is back."],
    direct: ["Let it go direct", "What is for the VPN leaves by the direct link."],
  };
  return element(
    "fieldset",
    { disabled: off.disabled },
    element("legend", {}, "While the VPN is down, what is for it"),
    Object.entries(meanings).map(([value, [label, meaning]]) =>
      choice(
        {
          type: "radio", name: "when_vpn_down", id: `when-vpn-down-${value}`, value,
          checked: draft.when_vpn_down === value, onchange: () => set({ when_vpn_down: value }),
        },
        label,
        meaning,
      ),
    ),
  );
}

function changed(draft, value) {
  return Object.fromEntries(
    Object.entries(draft).filter(([name, typed]) => typed !== value[name]),
  );
}

function formButtons(state, context, form, title, change) {
  const edited = isEdited(state, form);
  const off = writing(state);
  return element(
    "div",
    { class: "actions" },
    button(title, () => propose(context, { title, form, guarded: true, ...change() }), {
      kind: "primary", id: `${form}-apply`, ...off, disabled: off.disabled || !edited,
    }),
    button("Discard", () => discard(context.store, form), { disabled: !edited }),
  );
}

/**
 * A framed part of a tab.
 * @param {string} title
 * @param {...*} children
 * @returns {Element}
 */
export function card(title, ...children) {
  return element("section", { class: "card", key: title }, element("h2", {}, title), children);
}
