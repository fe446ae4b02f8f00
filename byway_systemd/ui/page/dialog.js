// The one dialog: modal, drawn from the state; the focus returns to where it was.

import { button } from "./controls.js";
import { element, patchChildren } from "./dom.js";

/**
 * @param {Object} store
 * @param {Object} dialog its kind, and what it is about
 * @returns {function(Object): void} changes what this dialog shows, and no other that is open by
 *   then: for what arrives later
 */
export function openDialog(store, dialog) {
  const opening = {};
  store.set({ dialog: { ...dialog, opening } });
  return (changes) => store.get().dialog?.opening === opening && changeDialog(store, changes);
}

/** @param {Object} store */
export function closeDialog(store) {
  store.set({ dialog: null });
}

/**
 * Change what the open dialog shows.
 * @param {Object} store
 * @param {Object} changes
 */
export function changeDialog(store, changes) {
  store.update("dialog", (dialog) => dialog && { ...dialog, ...changes });
}

/**
 * Let an element show the state's dialog. The browser gives the focus back to where it was; where
 * that is gone, the chosen tab gets it.
 * @param {HTMLDialogElement} node
 * @param {Object} store
 * @param {Object<string, function(Object): {title: string, body: Array, actions: Array}>} kinds
 * @returns {function(Object): void} draws
 */
export function dialogDrawer(node, store, kinds) {
  node.addEventListener("close", () => {
    closeDialog(store);
    if (document.activeElement === document.body) {
      document.querySelector("[role=tab][aria-selected=true]")?.focus();
    }
  });
  return (state) => {
    if (state.dialog) {
      patchChildren(node, frame(store, kinds[state.dialog.kind](state)));
      if (!node.open) {
        node.showModal();
        node.querySelector("#dialog-title").focus();
      }
    } else if (node.open) {
      node.close();
      patchChildren(node, []);
    }
  };
}

function frame(store, { title, body, actions }) {
  return [
    element(
      "header",
      {},
      element("h2", { id: "dialog-title", tabindex: "-1" }, title),
      button("Close", () => closeDialog(store), { kind: "plain" }),
    ),
    element("div", { class: "dialog-body" }, body),
    element("footer", {}, actions),
  ];
}
