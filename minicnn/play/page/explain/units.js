/**
 * Units: one number of a layer's output, and where it comes from.
 *
 * An explanation is a list of terms in groups. Every term is a value times a factor; the products
 * of all groups and the extras add up to the total, which is the unit (or its gradient).
 */

import { count } from "../engine/types.js";

/** @typedef {import("../engine/types.js").Node} Node */

/** A number of a node's output, by its position there. @typedef {{node: number, at: number}} Unit */

/**
 * One product. `at` is where the value comes from in the output of `node`; -1 is padding.
 * @typedef {{node: number, at: number, value: number, factor: number | null, product: number}} Term
 */

/**
 * Terms that are drawn as one picture of `columns` columns.
 * @typedef {{label: string, columns: number, terms: Term[], sum: number}} Group
 */

/**
 * @typedef {object} Explanation
 * @property {Group[]} groups
 * @property {{label: string, value: number}[]} extras what is added to the products
 * @property {number} total
 * @property {string} value name of what the values are, such as "window"
 * @property {string} factor name of what the factors are, such as "kernel"
 * @property {string} note a sentence on what happens here
 */

/**
 * Return where a position lies: map, row and column; a vector is a column of maps of one number.
 * @param {number[]} shape @param {number} at
 */
export function placeOf(shape, at) {
  const [h, w] = shape.length === 3 ? [shape[1], shape[2]] : [1, 1];
  return { map: Math.floor(at / (h * w)), row: Math.floor(at / w) % h, column: at % w };
}

/**
 * Return a unit's name in words.
 * @param {Node} node @param {number} at
 */
export function nameOf(node, at) {
  const { map, row, column } = placeOf(node.shape, at);
  if (node.shape.length !== 3) return `${node.name}, unit ${map}`;
  return `${node.name}, map ${map}, row ${row}, column ${column}`;
}

/**
 * Return a term; without a factor the product is given.
 * @param {number} node @param {number} at @param {number} value @param {number | null} factor
 * @param {number} product
 * @returns {Term}
 */
export function term(node, at, value, factor, product = value * (factor ?? 1)) {
  return { node, at, value, factor, product };
}

/**
 * Return terms as a group with their sum.
 * @param {string} label @param {number} columns @param {Term[]} terms
 * @returns {Group}
 */
export function group(label, columns, terms) {
  return { label, columns, terms, sum: terms.reduce((sum, { product }) => sum + product, 0) };
}

/**
 * Return how many columns a picture of a vector has.
 * @param {number} length
 */
export function columnsOfVector(length) {
  return Math.min(length, Math.ceil(Math.sqrt(length * 0.8)));
}

/**
 * Return the terms of a vector in groups: map by map where it is a flattened image.
 * @param {{nodes: Node[]}} network @param {number} which the node of the vector @param {Term[]} terms
 * @returns {Group[]}
 */
export function groupsOfVector(network, which, terms) {
  const node = network.nodes[which];
  const before = node.op === "flatten" ? network.nodes[node.inputs[0]].shape : [terms.length];
  if (before.length !== 3 || count(before) !== terms.length) {
    return [group(node.name, columnsOfVector(terms.length), terms)];
  }
  const size = before[1] * before[2];
  if (size === 1) return [group(node.name, columnsOfVector(terms.length), terms)];
  return Array.from({ length: before[0] }, (_, c) =>
    group(`map ${c}`, before[2], terms.slice(c * size, (c + 1) * size)),
  );
}
