/** Node 20 has no iterator helpers, and jax-js reads einsum expressions with two of them. To be called before it is loaded. */
export function provideIteratorHelpers() {
  const prototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
  prototype.map ??= function* map(/** @type {(item: unknown) => unknown} */ change) {
    for (const item of this) yield change(item);
  };
  prototype.filter ??= function* filter(/** @type {(item: unknown) => boolean} */ takes) {
    for (const item of this) if (takes(item)) yield item;
  };
}
