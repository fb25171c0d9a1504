/** What `kernels` measures: ops with the types of their inputs. */

const tensor = (/** @type {string} */ dtype, /** @type {number[]} */ ...shape) => ({ dtype, shape });

/**
 * @typedef {object} KernelCase
 * @property {'products' | 'attention' | 'memory' | 'optimizers'} set
 * @property {string} name
 * @property {string} op
 * @property {readonly { readonly dtype: string, readonly shape: readonly number[], readonly positive?: boolean, readonly value?: number }[]} inputs
 * @property {Record<string, number>} attrs
 * @property {readonly { readonly output: number, readonly input: number }[]} [overwrites]
 * @property {number} [flops] of the work that is done
 * @property {{ readonly layout: string, readonly dtype: string, readonly tokens: number, readonly n: number, readonly k: number }} [product]
 * @property {number} [reads] large arrays read, if one is read several times
 * @property {boolean} [exempt] its stream is not a goal
 */

const PRODUCT_SHAPES = [[576, 576], [1536, 576], [576, 1536], [49152, 576], [896, 896], [4864, 896], [2048, 2048], [8192, 2048]];

/** The three products of a linear layer with a weight [n, k]: y = x·wᵀ (NT), dx = dy·w (NN), dw = dyᵀ·x (TN). All operands but dw have the dtype. */
function products() {
  /** @type {KernelCase[]} */
  const cases = [];
  for (const dtype of ['f32', 'bf16', 'f16']) {
    for (const tokens of [512, 2048]) {
      for (const [n, k] of PRODUCT_SHAPES) {
        const [x, w, dy] = [tensor(dtype, 1, tokens, k), tensor(dtype, n, k), tensor(dtype, 1, tokens, n)];
        const trio = { nt: [x, w], nn: [dy, w], tn: [dy, x] };
        for (const [layout, inputs] of Object.entries(trio)) {
          cases.push({
            set: 'products', name: `${layout} ${tokens} x (${n}, ${k}) ${dtype}`, op: `matmul_${layout}`, inputs, attrs: layout === 'tn' ? { accumulate: 0 } : { bias: 0 },
            flops: 2 * tokens * n * k, product: { layout, dtype, tokens, n, k },
          });
        }
      }
    }
  }
  return cases;
}

/** Heads of 64 as SmolLM2 has them, at least 1024 tokens. The causal half is counted: 2 products forward, 5 backward. */
function attention() {
  return [256, 512, 2048, 8192].flatMap((length) => {
    const [heads, keyValueHeads, headWidth] = [9, 3, 64];
    const rows = Math.max(1, 1024 / length);
    const q = tensor('f32', rows, length, heads * headWidth);
    const k = tensor('f32', rows, length, keyValueHeads * headWidth);
    const [starts, lse] = [tensor('i32', rows, length), { ...tensor('f32', rows, length, heads), value: 4 }];
    const attrs = { heads, keyValueHeads, headWidth, scale: 1 / Math.sqrt(headWidth) };
    const product = rows * heads * length * length * headWidth;
    const shape = `${rows} x ${length}`;
    return /** @type {KernelCase[]} */ ([
      { set: 'attention', name: `forward ${shape}`, op: 'attention', inputs: [q, k, k, starts], attrs, flops: 2 * product },
      { set: 'attention', name: `backward ${shape}`, op: 'attention_backward', inputs: [q, k, k, starts, q, lse, q], attrs, flops: 5 * product },
    ]);
  });
}

/** Pointwise ops, norms, rotary and sums: on activations of a size that no cache holds, and on those of SmolLM2 at 512 tokens. */
function memory() {
  return [{ rows: 16, length: 2048, width: 2048, label: 'large' }, { rows: 1, length: 512, width: 1536, label: '512 x 1536' }].flatMap(({ rows, length, width, label }) => ['f32', 'bf16'].flatMap((dtype) => {
    const x = tensor(dtype, rows, length, width);
    const full = tensor('f32', rows, length, width);
    const [weight, rstd, stat] = [tensor('f32', width), { ...tensor('f32', rows, length, 1), positive: true }, { ...tensor('f32', rows, length), positive: true }];
    const table = tensor('f32', rows, length, 64);
    const over = (input = 0) => [{ output: 0, input }];
    /** @type {[string, string, KernelCase['inputs'], Record<string, number>, KernelCase['overwrites']?][]} */
    const activations = [
      ['add', 'add', [x, x], {}],
      ['add in place', 'add', [x, x], {}, over()],
      ['swiglu', 'swiglu', [x, x], {}],
      ['swiglu backward', 'swiglu_backward', [x, x, x], {}],
      ['swiglu backward in place', 'swiglu_backward', [x, x, x], {}, [...over(), { output: 1, input: 1 }]],
      ['gelu', 'gelu', [x], { tanh: 1 }],
      ['gelu backward', 'gelu_backward', [x, x], { tanh: 1 }],
      ['rmsnorm', 'rmsnorm', [x, weight], { epsilon: 1e-5 }],
      ['rmsnorm backward', 'rmsnorm_backward', [x, weight, rstd, x], {}],
      ['rmsnorm weight', 'rmsnorm_weight_gradient', [x, rstd, x], { width, accumulate: 0 }],
      ['layernorm', 'layernorm', [x, weight, weight], { epsilon: 1e-5 }],
      ['layernorm backward', 'layernorm_backward', [x, weight, stat, stat, x], {}],
      ['layernorm weight', 'layernorm_weight_gradient', [x, stat, stat, x], { accumulate: 0 }],
      ['rotary in place', 'rotary', [x, table], { inverse: 0 }, over()],
      ['bias gradient', 'column_sum', [x], { accumulate: 0 }],
    ];
    /** @type {typeof activations} */
    const single = [
      ['cast to bf16', 'cast', [full], { to: 1 }],
      ['sum of squares', 'sum_squares', [tensor('f32', rows * length, width)], {}],
      ['cross-entropy', 'cross_entropy', [full, tensor('i32', rows, length), tensor('f32', 1)], {}],
      ['cross-entropy backward in place', 'cross_entropy_backward', [full, tensor('i32', rows, length), { ...tensor('f32', rows, length), value: 8 }, tensor('f32', 1), tensor('f32', rows)], {}, over()],
    ];
    return [...activations, ...(dtype === 'f32' ? single : [])].map(([name, op, inputs, attrs, overwrites]) => ({
      set: 'memory', name: `${name}, ${label}${dtype === 'f32' ? '' : `, ${dtype}`}`, op, inputs, attrs, ...(overwrites === undefined ? {} : { overwrites }),
    }));
  }));
}

/** Each optimizer's update of a matrix of 8192 x 8192, larger than the caches, with f32 and with bf16 parameters. */
function optimizers() {
  const shape = [8192, 8192];
  const [one, step, full] = [{ ...tensor('f32', 1), value: 1e-4 }, { ...tensor('i32', 1), value: 10 }, tensor('f32', ...shape)];
  const scalars = [one, step, { ...one, value: 1 }];
  const state = { ...full, positive: true };
  const codes = [tensor('u8', ...shape), { ...tensor('f32', shape[0] * shape[1] / 256), positive: true }];
  const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1, first: 0, seed: 1 };
  /** @type {[string, KernelCase['inputs'], Record<string, number>][]} */
  const list = [
    ['adamw', [full, full, full, state, ...scalars], adam],
    ['lion', [full, full, full, ...scalars], { beta1: 0.9, beta2: 0.99, weightDecay: 0.1, first: 0, seed: 1 }],
    ['sgd', [full, full, ...scalars, full], { momentum: 0.9, weightDecay: 0.1, first: 0, seed: 1 }],
    ['adafactor', [full, full, ...scalars, ...shape.map((size) => ({ ...tensor('f32', size), positive: true }))], { beta1: 0, weightDecay: 0.1, factored: 1, seed: 1 }],
    ['adamw_8bit', [full, full, ...codes, ...codes, ...scalars], adam],
  ];
  return list.flatMap(([op, inputs, attrs]) => ['f32', 'bf16'].map((dtype) => ({
    set: 'optimizers', name: `${op}${dtype === 'f32' ? '' : ', bf16 weights'}`, op, inputs: [tensor(dtype, ...shape), ...inputs.slice(1)], attrs, exempt: op === 'adamw_8bit', ...(op === 'adafactor' ? { reads: 4 } : {}), // the gradient three times
  })));
}

export const KERNEL_CASES = [...products(), ...attention(), ...memory(), ...optimizers()];
