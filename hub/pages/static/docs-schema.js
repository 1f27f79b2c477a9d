/** Schemas as rows of a table: the kind of value, its limits, its meaning. */

const WORDS = { string: 'text', integer: 'whole number', object: 'map', boolean: 'true or false', array: 'list' };
const isNull = (/** @type {any} */ schema) => schema.type === 'null';

/** The name behind `#/components/schemas/Name`, or null. @param {any} schema @returns {string|null} */
export function nameOf(schema) {
  return schema?.$ref?.split('/').pop() ?? null;
}

/**
 * The kind of value as pieces: text, or a link to a part by its name.
 * @param {any} schema @returns {(string|{ref: string})[]}
 */
export function kindOf(schema) {
  const name = nameOf(schema);
  if (name !== null) return [{ ref: name }];
  if ('const' in schema) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((/** @type {any} */ one) => one ?? 'null').join(' | ')];
  if (schema.anyOf) {
    const left = schema.anyOf.filter((/** @type {any} */ one) => !isNull(one) || !('default' in schema));
    return left.flatMap((/** @type {any} */ one, /** @type {number} */ i) => (i > 0 ? [' or ', ...kindOf(one)] : kindOf(one)));
  }
  if (schema.type === 'array') return ['list of ', ...kindOf(schema.items ?? {})];
  if (schema.type === 'object' && typeof schema.additionalProperties === 'object') {
    return ['map of ', ...kindOf(schema.additionalProperties)];
  }
  return [WORDS[/** @type {keyof WORDS} */ (schema.type)] ?? schema.type ?? 'anything'];
}

/** The limits in a few words. @param {any} schema @returns {string} */
export function limitsOf(schema) {
  const inner = (schema.anyOf ?? []).filter((/** @type {any} */ one) => !isNull(one)).map(limitsOf).find(Boolean);
  const said = inner ? [inner] : [];
  const [low, high] = [schema.minimum, schema.maximum];
  if (low !== undefined && high !== undefined) said.push(`${big(low)} to ${big(high)}`);
  else if (low !== undefined) said.push(`from ${big(low)}`);
  else if (high !== undefined) said.push(`at most ${big(high)}`);
  for (const [few, many, unit] of [['minLength', 'maxLength', 'characters'], ['minItems', 'maxItems', 'items'], ['minProperties', 'maxProperties', 'entries']]) {
    if (schema[many] !== undefined) said.push(`${schema[few] ?? 0} to ${big(schema[many])} ${unit}`);
  }
  if (said.length === 0 && schema.items) {
    const each = limitsOf(schema.items);
    if (each) said.push(`each ${each}`);
  }
  const { default: usual } = schema;
  if (usual !== undefined && usual !== null && usual !== false && !(typeof usual === 'object' && Object.keys(usual).length === 0)) {
    said.push(`${JSON.stringify(usual)} if left out`);
  }
  return said.join(', ');
}

/** @param {number} n */
function big(n) {
  if (n === 2 ** 53) return '2⁵³';
  if (Math.abs(n) >= 1e9) return n.toExponential().replace('e+', ' × 10^').replace(/^(-?)1 × /, '$1');
  return n.toLocaleString('en-GB');
}

/**
 * One row per field.
 * @param {any} schema a part with properties
 * @returns {{name: string, needed: boolean, kind: (string|{ref: string})[], limits: string, meaning: string}[]}
 */
export function rowsOf(schema) {
  const needed = new Set(schema?.required ?? []);
  return Object.entries(schema?.properties ?? {}).map(([name, field]) => ({
    name,
    needed: needed.has(name),
    kind: kindOf(field),
    limits: limitsOf(field),
    meaning: field.description ?? '',
  }));
}

/** Every part that a schema names, however deep. @param {any} node @param {Set<string>} [found] */
export function refsOf(node, found = new Set()) {
  if (Array.isArray(node)) node.forEach((one) => refsOf(one, found));
  else if (node && typeof node === 'object') {
    const name = nameOf(node);
    if (name !== null) found.add(name);
    Object.values(node).forEach((one) => refsOf(one, found));
  }
  return found;
}
