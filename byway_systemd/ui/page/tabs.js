// Tabs, as the ARIA Authoring Practices have them: arrow keys move and choose.

import { element } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * A list of tabs. The panel is `<id>-panel` and is labelled by `<id>-tab-<chosen>`.
 * @param {string} id
 * @param {string} label
 * @param {Array<[string, string]>} tabs name and text
 * @param {string} chosen
 * @param {function(string): void} choose
 * @returns {Element}
 */
export function tabList(id, label, tabs, chosen, choose) {
  return element(
    "div",
    { role: "tablist", "aria-label": label, class: "tabs", key: `${id}-tabs` },
    tabs.map(([name, text]) =>
      element(
        "button",
        {
          type: "button",
          role: "tab",
          key: name,
          id: `${id}-tab-${name}`,
          "aria-selected": String(name === chosen),
          "aria-controls": `${id}-panel`,
          tabindex: name === chosen ? "0" : "-1",
          onclick: () => choose(name),
          onkeydown: (event) => move(event, id, tabs, chosen, choose),
        },
        text,
      ),
    ),
  );
}

/**
 * The panel of the chosen tab.
 * @param {string} id
 * @param {string} chosen
 * @param {...*} children
 * @returns {Element}
 */
export function tabPanel(id, chosen, ...children) {
  return element(
    "div",
    {
      role: "tabpanel",
      class: "panel",
      id: `${id}-panel`,
      "aria-labelledby": `${id}-tab-${chosen}`,
      tabindex: "-1",
    },
    element("div", { key: chosen }, children),
  );
}

function move(event, id, tabs, chosen, choose) {
  const names = tabs.map(([name]) => name);
  const last = names.length - 1;
  const targets = { Home: 0, End: last };
  let index = targets[event.key];
  if (event.key in STEPS) {
    index = (names.indexOf(chosen) + STEPS[event.key] + names.length) % names.length;
  }
  if (index !== undefined) {
    event.preventDefault();
    choose(names[index]);
    document.getElementById(`${id}-tab-${names[index]}`).focus();
  }
}
