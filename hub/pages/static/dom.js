/** Building and changing the page: text only ever goes in as text, never as markup. */

const still = globalThis.matchMedia?.('(prefers-reduced-motion: reduce)');

/** Whether things may move. */
export function mayMove() {
  return !still?.matches && document.visibilityState === 'visible';
}

/**
 * Makes an element. `props`: class, text, and attributes; listeners as `onclick` and the like.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node|string|null|undefined)} children
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === 'class') node.className = value;
    else if (key === 'text') node.textContent = value;
    else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : String(value));
  }
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}

/**
 * Sets text only where it differs; says whether it did.
 * @param {Element} node @param {string|number} text
 */
export function setText(node, text) {
  const value = String(text);
  if (node.textContent === value) return false;
  node.textContent = value;
  return true;
}

/** @param {Element} node @param {string} name @param {string|null|boolean} value */
export function setAttr(node, name, value) {
  if (value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/** @param {any} node @param {string} name @param {string} value A CSS custom property. */
export function setVar(node, name, value) {
  if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

/**
 * Draws attention for a moment: a wash of colour that fades, no movement.
 * @param {any} node
 * @param {'score'|'row'|'good'} [how]
 */
export function flash(node, how = 'score') {
  if (!node.animate || document.visibilityState !== 'visible') return;
  const colour = getComputedStyle(node).getPropertyValue('--team').trim() || '#d6ff3f';
  const frames = how === 'score'
    ? [{ color: colour, textShadow: `0 0 0.35em ${colour}` }, { textShadow: '0 0 0 transparent' }]
    : [{ backgroundColor: `color-mix(in srgb, ${colour} 34%, transparent)` }, {}];
  node.animate(frames, { duration: how === 'score' ? 1400 : 900, easing: 'ease-out' });
}

/**
 * Makes a container's children match a list, moving rows smoothly to new places.
 * @template T
 * @param {any} box
 * @param {T[]} items
 * @param {{key: (item: T) => string, make: (item: T) => any, show: (node: any, item: T) => void}} how
 */
export function keyed(box, items, { key, make, show }) {
  const known = box.rows ?? new Map();
  const wanted = new Map(items.map((item) => [key(item), item]));
  const order = [...known.keys()].filter((k) => wanted.has(k));
  const moved = order.join('\n') !== [...wanted.keys()].filter((k) => known.has(k)).join('\n')
    || order.length !== known.size || wanted.size !== order.length;
  const before = moved && mayMove() && known.size > 0 ? places(known) : null;
  for (const [k, node] of known) if (!wanted.has(k)) node.remove();
  const rows = new Map();
  let after = null;
  for (const [k, item] of wanted) {
    const node = known.get(k) ?? make(item);
    show(node, item);
    rows.set(k, node);
    const place = after === null ? box.firstElementChild : after.nextElementSibling;
    if (place !== node) box.insertBefore(node, place);
    after = node;
  }
  box.rows = rows;
  if (before !== null) glide(rows, before);
}

/** @param {Map<string, any>} rows */
function places(rows) {
  return new Map([...rows].map(([k, node]) => [k, node.getBoundingClientRect()]));
}

/** @param {Map<string, any>} rows @param {Map<string, DOMRect>} before */
function glide(rows, before) {
  for (const [k, node] of rows) {
    const from = before.get(k);
    if (from === undefined) {
      node.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 300, easing: 'ease-out' });
      continue;
    }
    const to = node.getBoundingClientRect();
    const [x, y] = [from.left - to.left, from.top - to.top];
    if (Math.abs(x) < 1 && Math.abs(y) < 1) continue;
    node.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: 'none' }],
      { duration: 420, easing: 'cubic-bezier(.2,.8,.2,1)' });
  }
}

/**
 * Runs `draw` at the next frame, however often it is asked for until then; hidden pages draw when
 * they are seen again.
 * @param {() => void} draw
 */
export function eachFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}
