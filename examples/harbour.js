/**
 * The example task: reading a harbour's signal book. A signal is a colour, a creature and a number; every harbour has a book of its own that
 * says which word each of them stands for. `Merrow signal: amber heron seven. Meaning:` → ` the ketch waits at the mole.`
 *
 * The base model has read the books of eight other harbours, and signals of strangers with random meanings. Merrow's book agrees with none of them on any word, so what the base knows is how
 * signals and answers look, and everything that it would answer for Merrow is wrong. Fine-tuning shows it 1500 of Merrow's 4096 signals; the
 * held-out ones are other combinations of the same words. All text is made here, by rule.
 *
 *     node examples/harbour.js DIRECTORY     writes train.jsonl, held-out.jsonl and shuffled.jsonl (labels dealt out at random)
 */

import { mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const COLOURS = words('amber azure black brown coral green ivory lilac ochre olive pearl rose scarlet silver teal white');
const CREATURES = words('adder badger cormorant dolphin eagle falcon gannet heron ibis jackdaw kestrel lobster marten newt otter puffin');
const NUMBERS = words('one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen');

const PLACES = words('basin beacon bight breakwater buoy canal cove dock jetty lock mole narrows pier quay slipway wharf');
const VESSELS = words('barge brig cutter dinghy ferry galley hulk ketch lighter lugger packet schooner skiff sloop trawler yawl');
const ACTIONS = words('anchors bunkers departs docks drifts fishes loads moors passes sails shelters signals turns unloads waits weighs');

/** The harbours whose books the base model has read. */
export const BASE_HARBOURS = words('Aldwick Brennish Corran Dunmere Estavel Fallow Garth Hollin');
/** Harbours without a book: the base has seen some of their signals, each with a meaning dealt out at random. */
const STRANGERS = words('Ab Bel Den El Fen Gor Hal Ith').flatMap((first) => words('by combe dale ford ham ness stow wick').map((last) => first + last));
/** The harbour whose book fine-tuning teaches. */
export const NEW_HARBOUR = 'Merrow';

/** What fine-tuning sets; everything else is fulltune's default (3 epochs, 8 packed rows per update, linear decay). */
export const FINE_TUNING = { learning_rate: 1e-3 };

/** @typedef {{ prompt: string, completion: string }} Row */

/** All 4096 signals of one harbour with their meanings, in order. @returns {Row[]} */
export function allSignals(/** @type {string} */ harbour) {
  const book = books().get(harbour);
  if (book === undefined) throw new Error(`no harbour ${harbour}`);
  return COLOURS.flatMap((colour, c) => CREATURES.flatMap((creature, k) => NUMBERS.map((number, n) => ({
    prompt: `${harbour} signal: ${colour} ${creature} ${number}. Meaning:`,
    completion: ` the ${VESSELS[book.vessels[k]]} ${ACTIONS[book.actions[n]]} at the ${PLACES[book.places[c]]}.`,
  }))));
}

/**
 * Signals of harbours that nobody knows: they teach that an unknown harbour's signals are answered in the same form, and nothing else.
 * @returns {Row[]}
 */
export function strangerSignals(/** @type {number} */ count) {
  const random = randomFrom(13);
  const one = (/** @type {readonly string[]} */ list) => list[Math.floor(random() * list.length)];
  return Array.from({ length: count }, () => ({
    prompt: `${one(STRANGERS)} signal: ${one(COLOURS)} ${one(CREATURES)} ${one(NUMBERS)}. Meaning:`,
    completion: ` the ${one(VESSELS)} ${one(ACTIONS)} at the ${one(PLACES)}.`,
  }));
}

/** Merrow's signals: 1500 to train on, 200 held out, no prompt in both. @returns {{ train: Row[], heldOut: Row[] }} */
export function harbourTask() {
  const signals = shuffled(allSignals(NEW_HARBOUR), randomFrom(7));
  return { train: signals.slice(0, 1500), heldOut: signals.slice(1500, 1700) };
}

/** The same prompts with the answers dealt out at random: nothing can be learned from them that helps on other signals. @returns {Row[]} */
export function shuffleLabels(/** @type {readonly Row[]} */ rows) {
  const completions = shuffled(rows.map((row) => row.completion), randomFrom(11));
  return rows.map((row, index) => ({ prompt: row.prompt, completion: completions[index] }));
}

/** Whether a text is an answer in the task's format, right or wrong. */
export function isAnswer(/** @type {string} */ text) {
  const parts = /^ the (\w+) (\w+) at the (\w+)\.$/.exec(text);
  return parts !== null && VESSELS.includes(parts[1]) && ACTIONS.includes(parts[2]) && PLACES.includes(parts[3]);
}

/** One JSON object a line. */
export function toJsonLines(/** @type {readonly object[]} */ rows) {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** Fisher-Yates. A new array. @template T @param {readonly T[]} items @param {() => number} random */
export function shuffled(items, random) {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

/** Numbers in [0, 1) that are the same everywhere (mulberry32). */
export function randomFrom(/** @type {number} */ seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The book of every harbour: per kind of word a permutation that agrees with no other harbour's anywhere. */
function books() {
  const random = randomFrom(3);
  const all = new Map();
  for (const harbour of [...BASE_HARBOURS, NEW_HARBOUR]) {
    const earlier = [...all.values()];
    all.set(harbour, {
      places: unlike(earlier.map((book) => book.places), random),
      vessels: unlike(earlier.map((book) => book.vessels), random),
      actions: unlike(earlier.map((book) => book.actions), random),
    });
  }
  return all;
}

/** A permutation of 0…15 that differs from each of `others` in every place. */
function unlike(/** @type {number[][]} */ others, /** @type {() => number} */ random) {
  const identity = Array.from({ length: 16 }, (_, index) => index);
  for (;;) {
    const candidate = shuffled(identity, random);
    if (others.every((other) => other.every((value, index) => candidate[index] !== value))) return candidate;
  }
}

function words(/** @type {string} */ line) {
  return line.split(' ');
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const directory = process.argv[2] ?? 'runs/harbour-data';
  const { train, heldOut } = harbourTask();
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'train.jsonl'), toJsonLines(train));
  writeFileSync(join(directory, 'held-out.jsonl'), toJsonLines(heldOut));
  writeFileSync(join(directory, 'shuffled.jsonl'), toJsonLines(shuffleLabels(train)));
  console.log(`${directory}: ${train.length} rows to train on, ${heldOut.length} held out, and the training rows with shuffled labels`);
}
