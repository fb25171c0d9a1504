/** The kinds that ops are counted by. */

const CLASSES = {
  products: /^matmul_/,
  'projection and loss': /^linear_cross_entropy/,
  attention: /^attention/,
  loss: /^cross_entropy/,
  norms: /norm/,
  rotary: /^rotary/,
  embedding: /^embedding/,
  optimizer: /^(adamw|adafactor|lion|sgd|sum_squares|global_norm)/,
  offload: /^offload/,
};
const ORDER = ['products', 'projection and loss', 'attention', 'loss', 'optimizer', 'norms', 'rotary', 'embedding', 'offload'];

/** @param {string} op */
export function opClass(op) {
  return ORDER.find((name) => CLASSES[name].test(op)) ?? 'pointwise';
}
