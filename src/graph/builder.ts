/** Builds a graph node by node, checking shapes as it goes. The only writer of graphs, for models, backward and techniques alike. */

import { FulltuneError } from '../base/errors.ts';
import type { DType } from './dtype.ts';
import type { Attrs, Graph, Node, Overwrite, Phase, StorageClass, Value, ValueId } from './graph.ts';
import { elementCount, formatType, sameShape, type TensorType } from './shape.ts';

/** The shape rules of all ops: the graph itself knows no op by name. */
export interface ShapeRules {
  /** Output types of `op` for these inputs; of what is returned only dtype and shape count. Throws `E_SHAPE`-style `FulltuneError` when they do not fit. */
  infer(op: string, inputs: readonly TensorType[], attrs: Attrs): readonly TensorType[];
}

export interface NodeOptions {
  readonly overwrites?: readonly Overwrite[];
  readonly phase?: Phase;
  readonly scope?: string;
  /** Storage class of the outputs, or one each; by default `activation` in forward and `workspace` elsewhere. */
  readonly storage?: StorageClass | readonly StorageClass[];
  /** Names of the outputs; by default `scope/op`. What overwrites a persistent value has the name of that. */
  readonly names?: readonly (string | undefined)[];
  readonly effect?: true;
  /** See Node.region. */
  readonly region?: number;
}

interface InputOptions {
  readonly storage: StorageClass;
  readonly persistent: boolean;
}

export class GraphBuilder {
  private readonly rules: ShapeRules;
  private readonly values: Value[] = [];
  private readonly nodes: Node[] = [];
  private readonly inputs: ValueId[] = [];
  private readonly outputs: Record<string, ValueId> = {};
  private readonly byName = new Map<string, ValueId>();
  private readonly regions: Value[] = [];
  private readonly constants = new Map<ValueId, readonly number[]>();
  private scopePath = '';
  phase: Phase = 'forward';

  constructor(rules: ShapeRules) {
    this.rules = rules;
  }

  /** Goes on with a finished graph. */
  static from(graph: Graph, rules: ShapeRules): GraphBuilder {
    const builder = new GraphBuilder(rules);
    for (const value of graph.values) {
      builder.values.push(value);
      // The first of a name is where it comes from, later ones overwrite it.
      if (value.persistent && !builder.byName.has(value.name)) builder.byName.set(value.name, value.id);
    }
    for (const node of graph.nodes) builder.nodes.push(node);
    builder.inputs.push(...graph.inputs);
    Object.assign(builder.outputs, graph.outputs);
    builder.regions.push(...(graph.regions ?? []));
    for (const id of graph.inputs) builder.byName.set(graph.values[id]!.name, id);
    for (const [id, data] of Object.entries(graph.constants)) builder.constants.set(Number(id), data);
    return builder;
  }

  /** Runs `body` with `name` appended to the model path: `layers.3` inside `model` gives `model.layers.3`. */
  scope<T>(name: string, body: () => T): T {
    const outer = this.scopePath;
    this.scopePath = outer === '' ? name : `${outer}.${name}`;
    try {
      return body();
    } finally {
      this.scopePath = outer;
    }
  }

  /** Runs `body` at the absolute model path `scopePath` and in `phase`: for rules that add nodes on behalf of an earlier one. */
  within<T>(scopePath: string, phase: Phase, body: () => T): T {
    const outer = { scopePath: this.scopePath, phase: this.phase };
    this.scopePath = scopePath;
    this.phase = phase;
    try {
      return body();
    } finally {
      this.scopePath = outer.scopePath;
      this.phase = outer.phase;
    }
  }

  /** A trainable tensor under its Hugging Face name. Asking twice for one name gives the same value (tied weights). */
  parameter(name: string, dtype: DType, ...shape: number[]): ValueId {
    return this.source(name, { dtype, shape }, { storage: 'parameter', persistent: true });
  }

  /** A value that the host writes before each run: ids, labels, learning rate, … */
  input(name: string, dtype: DType, ...shape: number[]): ValueId {
    return this.source(name, { dtype, shape }, { storage: 'input', persistent: false });
  }

  /** Any other value that outlives a run: optimizer state, accumulated gradients, a key/value cache. */
  persistent(name: string, storage: StorageClass, type: TensorType): ValueId {
    return this.source(name, type, { storage, persistent: true });
  }

  /** A small fixed vector, written once before the first run. */
  constant(name: string, dtype: DType, data: readonly number[], ...shape: number[]): ValueId {
    const id = this.source(name, { dtype, shape: shape.length > 0 ? shape : [data.length] }, { storage: 'constant', persistent: true });
    if (elementCount(this.type(id).shape) !== data.length) throw new RangeError(`constant ${name}: ${data.length} numbers for ${formatType(this.type(id))}`);
    this.constants.set(id, data);
    return id;
  }

  private source(name: string, type: TensorType, options: InputOptions): ValueId {
    const known = this.byName.get(name);
    if (known !== undefined) {
      const before = this.type(known);
      if (before.dtype !== type.dtype || !sameShape(before.shape, type.shape)) {
        throw new FulltuneError('E_SHAPE', `'${name}' is ${formatType(before)} in one place and ${formatType(type)} in another`, { where: this.scopePath });
      }
      return known;
    }
    const id = this.values.length;
    const { storage, persistent } = options;
    this.values.push({ id, name, dtype: type.dtype, shape: type.shape, storage, persistent, scope: this.scopePath });
    this.byName.set(name, id);
    this.inputs.push(id);
    return id;
  }

  /** Appends a node; returns its outputs. */
  node(op: string, inputs: readonly ValueId[], attrs: Attrs = {}, options: NodeOptions = {}): readonly ValueId[] {
    const scope = options.scope ?? this.scopePath;
    const phase = options.phase ?? this.phase;
    const types = inputs.map((id) => this.type(id));
    const outputTypes = this.infer(op, types, attrs, scope);
    const overwrites = options.overwrites ?? [];
    for (const { output, input } of overwrites) {
      const to = outputTypes[output];
      const from = types[input];
      if (to === undefined || from === undefined || to.dtype !== from.dtype || elementCount(to.shape) !== elementCount(from.shape)) {
        throw new FulltuneError('E_SHAPE', `${op}: output ${output} cannot live in the bytes of input ${input}`, { where: scope });
      }
    }
    const outputs: ValueId[] = [];
    for (const [index, { dtype, shape }] of outputTypes.entries()) {
      const id = this.values.length;
      const over = overwrites.find((o) => o.output === index);
      const base = over === undefined ? undefined : this.values[inputs[over.input]!];
      const asked = typeof options.storage === 'string' ? options.storage : options.storage?.[index];
      const storage = base?.persistent ? base.storage : (asked ?? (phase === 'forward' ? 'activation' : 'workspace'));
      const name = base?.persistent ? base.name : (options.names?.[index] ?? base?.name ?? (scope === '' ? op : `${scope}/${op}`));
      this.values.push({ id, name, dtype, shape, storage, persistent: base?.persistent ?? false, scope });
      outputs.push(id);
    }
    // Every node has every field, and every value: half a million of them are walked in a search, much faster when they are alike.
    this.nodes.push({ op, inputs: inputs.slice(), outputs, attrs, overwrites, phase, scope, effect: options.effect, region: options.region });
    return outputs;
  }

  private infer(op: string, types: readonly TensorType[], attrs: Attrs, scope: string): readonly TensorType[] {
    try {
      return this.rules.infer(op, types, attrs);
    } catch (error) {
      if (error instanceof FulltuneError && error.where === undefined) {
        throw new FulltuneError(error.code, `${op}: ${error.message}; inputs ${types.map(formatType).join(', ')}`, { where: scope || 'top of the graph', ...(error.remedy === undefined ? {} : { remedy: error.remedy }) });
      }
      throw error;
    }
  }

  /** Makes a value that a node writes here outlive the program, under `name`: other programs read it as that persistent value. */
  keep(id: ValueId, name: string, storage: StorageClass): void {
    if (this.byName.has(name)) throw new RangeError(`'${name}' is already a value of this graph`);
    this.values[id] = { ...this.type(id), name, storage, persistent: true };
    this.byName.set(name, id);
  }

  /** Gives `value` a place in the file beside the arena: its index in `Graph.regions`. */
  region(value: Value): number {
    return this.regions.push(value) - 1;
  }

  /** Names a value that the host reads after a run. */
  output(name: string, id: ValueId): void {
    if (this.outputs[name] !== undefined) throw new RangeError(`output '${name}' is named twice`);
    this.outputs[name] = id;
  }

  /** The value that the host reads under `name`. */
  outputNamed(name: string): ValueId {
    const id = this.outputs[name];
    if (id === undefined) throw new RangeError(`this graph has no output '${name}'`);
    return id;
  }

  /** Lets the host read `to` wherever it would read `from`: the same numbers, made elsewhere. */
  redirectOutputs(from: ValueId, to: ValueId): void {
    for (const [name, id] of Object.entries(this.outputs)) if (id === from) this.outputs[name] = to;
  }

  type(id: ValueId): Value {
    const value = this.values[id];
    if (value === undefined) throw new RangeError(`value ${id} is not in this graph`);
    return value;
  }

  /** The parameter, input or persistent value of that name. */
  find(name: string): ValueId | undefined {
    return this.byName.get(name);
  }

  /** The nodes so far, in order. */
  get nodesSoFar(): readonly Node[] {
    return this.nodes;
  }

  finish(): Graph {
    const regions = this.regions.length === 0 ? {} : { regions: [...this.regions] };
    return { values: [...this.values], nodes: [...this.nodes], inputs: [...this.inputs], outputs: { ...this.outputs }, constants: Object.fromEntries(this.constants), ...regions };
  }
}
