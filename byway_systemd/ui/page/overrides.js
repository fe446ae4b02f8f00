// Tab: what goes its own way, whatever the mode.

import { formNotices, propose } from "./change.js";
import { button, paragraph, writing } from "./controls.js";
import { openDetected } from "./detected.js";
import { discard, draftOf, FIELDS, isEdited, SIDES, takeOver, type } from "./drafts.js";
import { element } from "./dom.js";
import { card, unread } from "./traffic.js";
import { locateValues, placeProblems, splitValues } from "./values.js";

const LABELS = {
  subnets: ["Source subnets", "such as 172.18.0.0/16 or 192.0.2.7"],
  uids: ["UIDs", "such as 1000, 2000-2010 or alice"],
  cgroups: ["Cgroups / services", "such as docker.service or /system.slice/jellyfin.service"],
  destinations: ["Destinations", "such as 198.51.100.0/24 or relay.example.net"],
};

/**
 * @param {Object} state
 * @param {Object} context
 * @returns {Array}
 */
export function overridesTab(state, context) {
  const { store } = context;
  if (!state.overrides.value) {
    return [card("Policy overrides", unread(state, "overrides"))];
  }
  const off = writing(state);
  const edited = isEdited(state, "overrides");
  return [
    formNotices(forgiven(state), "overrides", () => takeOver(store, "overrides")),
    paragraph("One value per line; commas and semicolons do too.", "hint"),
    element(
      "div",
      { class: "columns", key: "columns" },
      Object.keys(SIDES).map((side) => column(state, context, side)),
    ),
    element(
      "div",
      { class: "actions", key: "actions" },
      button("Apply overrides", () => apply(context), {
        kind: "primary", id: "overrides-apply", ...off,
      }),
      button("Add detected...", () => openDetected(context), { id: "add-detected", ...off }),
      button("Discard", () => discard(store, "overrides"), { disabled: !edited }),
      edited && paragraph("Edited; nothing changes until it is applied.", "hint"),
    ),
  ];
}

function column(state, context, side) {
  const { label, fields } = SIDES[side];
  const note = "Destinations that never use the VPN are in the bypass list.";
  return card(
    label,
    fields.map((field) => textField(state, context, `${side}.${field}`, label)),
    !fields.includes("destinations") && paragraph(note, "hint"),
  );
}

function textField(state, context, field, sideLabel) {
  const [label, example] = LABELS[field.split(".")[1]];
  const id = field.replace(".", "-");
  const text = draftOf(state, "overrides")[field];
  const problems = standing(state.refusals.overrides?.fields?.[field] ?? [], text);
  const reads = writing(state).disabled;
  return element(
    "div",
    { class: "field", key: field },
    element("label", { for: id }, element("span", { class: "unseen" }, `${sideLabel}: `), label),
    element(
      "div",
      { class: "marked" },
      mirror(text, problems),
      element("textarea", {
        id, rows: "4", wrap: "off", spellcheck: "false", autocomplete: "off",
        value: text, readonly: reads, "aria-invalid": problems.length > 0 ? "true" : null,
        "aria-describedby": `${id}-hint` + (problems.length ? ` ${id}-problems` : ""),
        oninput: (event) => type(context.store, "overrides", { [field]: event.target.value }),
        onscroll: (event) => follow(event.target),
      }),
    ),
    element("span", { class: "hint", id: `${id}-hint` }, example),
    problems.length > 0 && problemList(id, problems),
  );
}

/** A refusal that was about values which are not there any more says nothing. */
function forgiven(state) {
  const { fields } = state.refusals.overrides ?? {};
  const draft = draftOf(state, "overrides");
  const stands = (field) => standing(fields[field], draft[field]).length > 0;
  return !fields || Object.keys(fields).some(stands)
    ? state
    : { ...state, refusals: { ...state.refusals, overrides: null } };
}

/** What is not there any more is not wrong any more. */
function standing(problems, text) {
  const values = splitValues(text);
  return problems.filter(({ value }) => !value || values.includes(value));
}

/** The same text behind the text, with marks: a textarea itself can show none. */
function mirror(text, problems) {
  const bad = new Set(problems.map(({ value }) => value));
  const parts = [];
  let end = 0;
  for (const one of locateValues(text).filter(({ value }) => bad.has(value))) {
    parts.push(text.slice(end, one.start), element("mark", {}, one.value));
    end = one.end;
  }
  return element(
    "div",
    { class: "mirror", "aria-hidden": "true" },
    element("div", {}, bad.size ? [...parts, text.slice(end), "\n"] : ""),
  );
}

function follow(textarea) {
  const behind = textarea.previousSibling;
  behind.scrollTop = textarea.scrollTop;
  behind.scrollLeft = textarea.scrollLeft;
}

function problemList(id, problems) {
  return element(
    "ul",
    { class: "problems", id: `${id}-problems` },
    problems.map(({ value, message, remedy }) =>
      element(
        "li",
        { key: `${value} ${message}` },
        value && element("code", {}, value),
        value && ": ",
        message,
        remedy && element("span", { class: "remedy" }, ` — ${remedy}`),
      ),
    ),
  );
}

function apply(context) {
  const draft = draftOf(context.store.get(), "overrides");
  const values = Object.fromEntries(FIELDS.map((field) => [field, splitValues(draft[field])]));
  const body = {};
  for (const [field, listed] of Object.entries(values)) {
    const [side, name] = field.split(".");
    (body[side] ??= {})[name] = listed;
  }
  return propose(context, {
    title: "Apply overrides", method: "PUT", path: "/api/v1/traffic/overrides", form: "overrides",
    guarded: true, body, done: "The overrides are set.",
    onRefused: (problem) => markProblems(context.store, problem, values),
  });
}

/** Show each problem with its field, and lead to the first bad value. */
function markProblems(store, problem, values) {
  const { fields, others } = placeProblems(problem.problems ?? [], values);
  const field = FIELDS.find((one) => fields[one]);
  if (!field) {
    return;
  }
  const detail = others.length
    ? others.map(({ key, message }) => `${key}: ${message}`).join("; ")
    : "the values that are marked below";
  const remedy = others.length ? others[0].remedy : "nothing was applied";
  store.update("refusals", (refusals) => ({ ...refusals, overrides: { detail, remedy, fields } }));
  const text = draftOf(store.get(), "overrides")[field];
  const bad = locateValues(text).find(({ value }) => value === fields[field][0].value);
  store.set({ focus: { id: field.replace(".", "-"), start: bad?.start, end: bad?.end } });
}
