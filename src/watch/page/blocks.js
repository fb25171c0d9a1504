/** The data of the page, opened: blocks with their places, which of them lies under a point, and who holds how much at a position. */

/** @param picture  MemoryPicture  @returns one object per program, persistent blocks first */
export function openPrograms(picture) {
  return picture.programs.map((program) => {
    const end = program.nodes.length;
    const persistent = rows(picture, picture.persistent).map((block) => ({ ...block, birth: 0, death: end, persistent: true }));
    const transient = rows(picture, program.rectangles).map((block) => ({ ...block, persistent: false }));
    const blocks = [...persistent, ...transient];
    blocks.forEach((block, index) => {
      block.index = index;
    });
    return {
      ...program, end, blocks,
      curves: classCurves({ blocks, end }, picture.storageClasses),
      top: transient.reduce((top, block) => Math.max(top, block.offset + block.size), picture.persistentBytes),
      nodeName: (position) => (position >= end ? 'the end' : picture.strings[program.nodes[position]]),
      phaseAt: (position) => program.phases.find(({ to }) => position <= to)?.phase ?? 'end',
    };
  });
}

function rows({ strings, storageClasses, alignment }, columns) {
  return columns.names.map((name, i) => ({
    name: strings[name],
    scope: strings[columns.scopes[i]],
    storage: storageClasses[columns.storages[i]],
    birth: columns.births[i],
    death: columns.deaths[i],
    offset: columns.offsets[i],
    bytes: columns.bytes[i],
    /** What it takes up. */
    size: Math.ceil(columns.bytes[i] / alignment) * alignment,
  }));
}

/** The block at a position and byte offset. */
export function blockAt({ blocks }, position, offset) {
  return blocks.find((b) => b.birth <= position && position <= b.death && b.offset <= offset && offset < b.offset + b.size);
}

export function liveAt({ blocks }, position) {
  return blocks.filter((b) => b.birth <= position && position <= b.death);
}

/** Bytes per storage class over the schedule, persistent ones first, then in the order of `storageClasses`: `bytes` by position. */
export function classCurves({ blocks, end }, storageClasses) {
  const curves = [true, false].flatMap((persistent) => storageClasses.map((storage) => ({ storage, persistent, bytes: new Float64Array(end + 2), most: 0 })));
  for (const { storage, persistent, size, birth, death } of blocks) {
    const curve = curves.find((candidate) => candidate.storage === storage && candidate.persistent === persistent);
    curve.bytes[birth] += size;
    curve.bytes[death + 1] -= size;
    curve.most = Math.max(curve.most, size);
  }
  for (const { bytes } of curves) for (let i = 1; i < bytes.length; i++) bytes[i] += bytes[i - 1];
  return curves.filter(({ most }) => most > 0);
}

/** `model.layers.3.mlp/swiglu:2` → `model.layers.*.mlp/swiglu`: what the same place of every layer makes. */
export function kindOf({ name }) {
  return name.replace(/\b(layers|h)\.\d+\b/g, '$1.*').replace(/:\d+$/, '');
}

/** The live blocks of a position by kind, largest kind first. */
export function kindsAt(program, position) {
  const kinds = new Map();
  for (const block of liveAt(program, position)) {
    const key = `${block.storage} ${kindOf(block)}`;
    const kind = kinds.get(key) ?? { key, name: kindOf(block), storage: block.storage, count: 0, bytes: 0 };
    kind.count++;
    kind.bytes += block.size;
    kinds.set(key, kind);
  }
  return [...kinds.values()].sort((a, b) => b.bytes - a.bytes);
}
