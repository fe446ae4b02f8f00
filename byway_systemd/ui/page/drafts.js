// What is typed into the forms and not applied yet.

import { mergeValues, splitValues } from "./values.js";

/** The fields of the overrides, by side, with their labels. */
export const SIDES = {
  force_vpn: { label: "Force VPN", fields: ["subnets", "uids", "cgroups", "destinations"] },
  force_direct: { label: "Force Direct", fields: ["subnets", "uids", "cgroups"] },
};

/** Every field of the overrides, such as `force_vpn.uids`. */
export const FIELDS = Object.entries(SIDES).flatMap(([side, { fields }]) =>
  fields.map((field) => `${side}.${field}`),
);

function valuesAt(value, field) {
  const [side, name] = field.split(".");
  return value?.[side]?.[name] ?? [];
}

function isEqual(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/**
 * How each form's draft is made of what was read, whether it is edited, and how it is put together
 * with what somebody else has made of the same.
 * @type {Object<string, {start: function, isEdited: function, merge: function,
 *   keeps: boolean}>}
 */
export const forms = {
  overrides: {
    start: (value) =>
      Object.fromEntries(FIELDS.map((field) => [field, valuesAt(value, field).join("\n")])),
    isEdited: (draft, value) =>
      FIELDS.some((field) => !isEqual(splitValues(draft[field]), valuesAt(value, field))),
    merge: (draft, base, theirs) =>
      Object.fromEntries(
        FIELDS.map((field) => {
          const [before, now] = [valuesAt(base, field), valuesAt(theirs, field)];
          return [field, mergeValues(before, splitValues(draft[field]), now).join("\n")];
        }),
      ),
  },
  mode: plainForm(["mode", "runtime"]),
  settings: plainForm(["interface", "vpn_interface", "auto_local_bypass", "when_vpn_down"]),
  // What is typed there is added to the list, whatever the list is.
  bypass: { start: () => ({}), isEdited: () => false, merge: (draft) => draft, keeps: true },
};

function plainForm(names) {
  const pick = (value) => Object.fromEntries(names.map((name) => [name, value?.[name]]));
  return {
    start: pick,
    isEdited: (draft, value) => !isEqual(pick(draft), pick(value)),
    merge: (draft, base, theirs) =>
      Object.fromEntries(
        names.map((name) => [name, (draft[name] === base[name] ? theirs : draft)[name]]),
      ),
  };
}

/**
 * @param {Object} state
 * @param {string} name of the form
 * @returns {Object} what is typed, or what was read
 */
export function draftOf(state, name) {
  return state.drafts[name] ?? forms[name].start(state[name].value);
}

/**
 * Note what is typed.
 * @param {Object} store
 * @param {string} name of the form
 * @param {Object} changes by field
 */
export function type(store, name, changes) {
  const draft = { ...draftOf(store.get(), name), ...changes };
  store.update("drafts", (drafts) => ({ ...drafts, [name]: draft }));
}

/**
 * @param {Object} state
 * @param {string} name of the form
 * @returns {boolean}
 */
export function isEdited(state, name) {
  return forms[name].isEdited(draftOf(state, name), state[name].value);
}

/**
 * Forget what is typed.
 * @param {Object} store
 * @param {string} name of the form
 */
export function discard(store, name) {
  const { drafts, refusals, stale } = store.get();
  const newer = stale[name] ? { [name]: stale[name] } : {};
  store.set({
    drafts: { ...drafts, [name]: undefined },
    refusals: { ...refusals, [name]: null },
    stale: { ...stale, [name]: undefined },
    ...newer,
  });
}

/**
 * Take over what somebody else has changed, and keep what is typed.
 * @param {Object} store
 * @param {string} name of the form
 */
export function takeOver(store, name) {
  const state = store.get();
  const theirs = state.stale[name];
  const merged = forms[name].merge(draftOf(state, name), state[name].value, theirs.value);
  store.set({
    [name]: theirs,
    drafts: { ...state.drafts, [name]: merged },
    stale: { ...state.stale, [name]: undefined },
    refusals: { ...state.refusals, [name]: null },
    message: { kind: "success", text: "Loaded again. What you typed is kept." },
  });
}
