/**
 * Counter-based random numbers: the value at (seed, stream, index) depends on nothing else, so a resumed run draws what the
 * uninterrupted one would have drawn. The mixer is splitmix64's finaliser (Steele, Lea, Flood 2014) on 64-bit integers.
 */

const MASK = (1n << 64n) - 1n;

function mix(z: bigint): bigint {
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return z ^ (z >> 31n);
}

/** 64 random bits for (seed, stream, index). */
export function randomBits(seed: number, stream: number, index: number): bigint {
  const a = mix((BigInt(seed) + 0x9e3779b97f4a7c15n) & MASK);
  const b = mix((a ^ (BigInt(stream) * 0xd1342543de82ef95n)) & MASK);
  return mix((b + BigInt(index) * 0x9e3779b97f4a7c15n) & MASK);
}

/**
 * A fast sequential generator for bulk draws (xoshiro128**, Blackman & Vigna 2018), seeded from the counter-based one.
 * Use one per (seed, stream); never save its state: save what it was seeded with and how many numbers were drawn.
 */
export class RandomStream {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  constructor(seed: number, stream: number) {
    const low = randomBits(seed, stream, 0);
    const high = randomBits(seed, stream, 1);
    this.a = Number(low & 0xffffffffn);
    this.b = Number(low >> 32n);
    this.c = Number(high & 0xffffffffn);
    this.d = Number(high >> 32n) | 1;
  }

  /** An unsigned 32-bit integer. */
  uint32(): number {
    const rotated = Math.imul(this.b, 5);
    const result = Math.imul((rotated << 7) | (rotated >>> 25), 9) >>> 0;
    const t = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= t;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result;
  }

  /** Uniform in [0, 1), 32 bits. */
  uniform(): number {
    return this.uint32() / 4294967296;
  }

  /** Uniform integer in [0, bound), bound ≤ 2^32, without modulo bias. */
  below(bound: number): number {
    const limit = 4294967296 - (4294967296 % bound);
    for (;;) {
      const draw = this.uint32();
      if (draw < limit) return draw % bound;
    }
  }

  /** Standard normal (Box & Muller 1958). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Shuffles in place (Fisher & Yates), and returns its argument. */
  shuffle<T extends Uint32Array | unknown[]>(items: T): T {
    const list = items as unknown[];
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = list[i];
      list[i] = list[j];
      list[j] = held;
    }
    return items;
  }
}
