// The page's elements: made from values, and brought up to date from fresh ones.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set([
  "svg", "g", "path", "rect", "circle", "text", "title", "desc", "tspan", "line",
]);
const PROPERTIES = new Set(["value", "checked", "indeterminate"]);

/**
 * Make an element. Texts become text nodes, so that nothing of them is ever read as markup.
 *
 * Attributes: `on...` is a listener, `value`, `checked` and `indeterminate` are properties, true
 * stands for an attribute without a value; null, undefined and false leave it out. `key` tells
 * an element from its siblings when it is brought up to date.
 * @param {string} tag
 * @param {Object<string, *>} [attributes]
 * @param {...*} children nodes, texts, numbers, or lists of them; null and false are left out
 * @returns {Element}
 */
export function element(tag, attributes, ...children) {
  const node = SVG_TAGS.has(tag)
    ? document.createElementNS(SVG, tag)
    : document.createElement(tag);
  node.listeners = {};
  node.properties = {};
  node.append(...nodesOf(children));
  for (const [name, value] of Object.entries(attributes ?? {})) {
    setAttribute(node, name, value);
  }
  return node;
}

function nodesOf(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

function setAttribute(node, name, value) {
  if (name.startsWith("on")) {
    node.listeners[name] = value;
    node[name] = value ?? null;
  } else if (name === "key") {
    node.key = value;
  } else if (PROPERTIES.has(name)) {
    node.properties[name] = value;
    node[name] = value;
  } else if (value === true) {
    node.setAttribute(name, "");
  } else if (value !== null && value !== undefined && value !== false) {
    node.setAttribute(name, String(value));
  }
}

/**
 * Make the children of `parent` what `children` are, and keep the elements that are the same:
 * they keep the focus, the caret and how far they are scrolled.
 * @param {Element} parent
 * @param {Array} children as those of {@link element}
 */
export function patchChildren(parent, children) {
  const fresh = nodesOf([children]);
  const keyed = keepKeyed(parent, fresh);
  let place = parent.firstChild;
  for (const node of fresh) {
    let old = node.key === undefined ? place : keyed.get(node.key);
    if (node.key === undefined && old?.key !== undefined) {
      old = null;
    }
    if (old && isSame(old, node)) {
      if (old !== place) {
        parent.insertBefore(old, place);
      }
      patchNode(old, node);
      place = old.nextSibling;
    } else {
      parent.insertBefore(node, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** Return the keyed children by key; those that are not wanted any more are gone. */
function keepKeyed(parent, fresh) {
  const wanted = new Set(fresh.map((node) => node.key));
  const keyed = new Map();
  for (const child of [...parent.childNodes]) {
    if (child.key !== undefined && wanted.has(child.key)) {
      keyed.set(child.key, child);
    } else if (child.key !== undefined) {
      child.remove();
    }
  }
  return keyed;
}

function isSame(old, fresh) {
  return (
    old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && old.key === fresh.key
  );
}

function patchNode(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) {
      old.data = fresh.data;
    }
    return;
  }
  patchAttributes(old, fresh);
  patchListeners(old, fresh);
  patchChildren(old, [...fresh.childNodes]);
  for (const [name, value] of Object.entries(fresh.properties ?? {})) {
    if (old[name] !== value) {
      old[name] = value;
    }
  }
}

function patchAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    // Whether a <details> is open is up to who reads it.
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) {
      old.removeAttribute(name);
    }
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) {
      old.setAttribute(name, value);
    }
  }
}

function patchListeners(old, fresh) {
  const listeners = fresh.listeners ?? {};
  for (const name of Object.keys(old.listeners ?? {})) {
    if (!(name in listeners)) {
      old[name] = null;
    }
  }
  for (const [name, listener] of Object.entries(listeners)) {
    old[name] = listener ?? null;
  }
  old.listeners = listeners;
}
