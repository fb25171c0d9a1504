/** The ladder of bench/memory.js: each rung adds a technique to the one before. Kinds of values as the recompute technique names them. */

const POINTWISE = ['attention/rmsnorm', 'mlp/swiglu'];
const REST = ['mlp/matmul_nt', 'attention/attention', 'attention/rotary', 'attention/matmul_nt', 'attention/add'];
const LAYERS = 30;

/** Recompute of all but the inputs of the first `layers` blocks. */
export const blockInputsOnly = (layers) => ({ dropped: [...POINTWISE, ...REST].map((value) => ({ value, layers })) });

/** [label, plan] from everything kept on. `plan` is one for the whole update as a single micro-batch. */
export function LADDER(plan) {
  const drop = (kinds, layers) => kinds.map((value) => ({ value, layers }));
  const kept = { ...plan, loss: { kind: 'whole' }, recompute: { dropped: [] }, update: 'after-backward', offload: { optimizerState: false, activationLayers: 0 } };
  const chunked = { ...kept, loss: { kind: 'chunked', blocks: 4 } };
  const pointwise = { ...chunked, recompute: { dropped: drop(POINTWISE, LAYERS) } };
  // Gate and up are 2·F of 5·D + 2·G·K + 3·F values per token and layer, pointwise values D + F: half of all in 18 of 30 layers.
  const half = { ...chunked, recompute: { dropped: [...drop(POINTWISE, LAYERS), ...drop(['mlp/matmul_nt'], 18)] } };
  const inputs = { ...chunked, recompute: blockInputsOnly(LAYERS) };
  const inBackward = { ...inputs, update: 'in-backward' };
  const bf16 = { ...inBackward, precision: { ...plan.precision, activations: 'bf16' } };
  const eightBit = { ...bf16, optimizer: { ...plan.optimizer, kind: 'adamw_8bit', embeddings: false } };
  const offloaded = { ...eightBit, offload: { optimizerState: true, activationLayers: 0 } };
  return [
    ['everything kept', kept], ['+ chunked loss', chunked], ['+ recompute of pointwise values', pointwise], ['recompute of half the bytes', half],
    ['recompute to block inputs only', inputs], ['+ optimizer in backward', inBackward], ['+ bf16', bf16], ['+ 8-bit AdamW', eightBit], ['+ offloaded state', offloaded],
  ];
}
