/**
 * The memory page in a real browser: makes a page and the plan's JSON with the built command line, opens the page and compares. Hovering, keys,
 * zoom, other programs, both colour schemes, a narrow window.
 *
 *     node test/browser/memory-page.mjs
 *
 * Needs the built project, ../shared, playwright-core (PLAYWRIGHT_CORE: its folder, where it is not in node_modules), and Chromium (CHROMIUM: its path, default
 * /usr/bin/chromium, of Debian's package chromium).
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { renderMemoryPage } from '../../dist/watch/memory-page.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const { chromium } = playwright();
const folder = mkdtempSync(join(tmpdir(), 'fulltune-browser-'));
const page = join(folder, 'memory.html');
let checks = 0;

/** It is no dependency of the project: CI puts it into a folder of its own. */
function playwright() {
  try {
    return createRequire(import.meta.url)(process.env.PLAYWRIGHT_CORE ?? 'playwright-core');
  } catch (error) {
    console.error(error.message.split('\n')[0]);
    console.log('browser: memory page FAILED: npm install --prefix DIR playwright-core, then PLAYWRIGHT_CORE=DIR/node_modules/playwright-core');
    return process.exit(1);
  }
}

/** `look` fails by throwing. */
async function check(name, look) {
  try {
    await look();
  } catch (error) {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
  checks++;
}

const shared = (path) => join(root, '..', 'shared', path);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  const plan = JSON.parse(execFileSync(process.execPath, [
    join(root, 'bin', 'fulltune.js'), 'plan', '--model', shared('models/stories260K'), '--dataset', shared('datasets/tinystories_sample.jsonl'), '--json', '--html', page,
    // A plan with large values of every class: what is drawn over them takes few of the places that are compared.
    '--no-chunked-loss', '--no-gradient-checkpointing', '--no-optimizer-in-backward', '--per-device-train-batch-size', '4',
  ], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  assert.equal(plan.picture, undefined, 'the JSON of --json is the same with and without --html');
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [{ width: 1280, height: 900 }, { width: 400, height: 800 }]) await lookAt(plan, { colorScheme, viewport });
  }
  await lookAtFrontier(plan);
  console.log(`browser: memory page passed, ${checks} checks`);
} catch (error) {
  console.error(error);
  console.log(`browser: memory page FAILED after ${checks} checks: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}

/** Places all over the arena with the class of the value that lies there; none: nothing does. */
function samples({ arenaBytes, persistent }, { nodes, rectangles }) {
  const places = [];
  for (let i = 0; i < 60; i++) {
    for (let j = 0; j < 60; j++) {
      const position = ((i + 0.5) / 60) * (nodes.length + 1);
      const byte = ((j + 0.5) / 60) * arenaBytes;
      const inside = (blocks) => blocks.names.findIndex((_, k) => byte >= blocks.offsets[k] && byte < blocks.offsets[k] + blocks.bytes[k]
        && (blocks.births.length === 0 || (position >= blocks.births[k] && position < blocks.deaths[k] + 1)));
      const [always, transient] = [inside(persistent), inside(rectangles)];
      places.push({ position, byte, storage: always !== -1 ? persistent.storages[always] : transient === -1 ? undefined : rectangles.storages[transient] });
    }
  }
  return places;
}

/** Whether `colour` is `main`, or at most 60 % of the way from it to `page`, as the lines between values are. */
function isMixOf(colour, main, page) {
  const [a, b, c] = [colour, main, page].map((text) => [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16)));
  const way = b.reduce((sum, part, i) => sum + (c[i] - part) ** 2, 0);
  const t = way === 0 ? 0 : b.reduce((sum, part, i) => sum + (a[i] - part) * (c[i] - part), 0) / way;
  return t >= -0.01 && t <= 0.6 && b.every((part, i) => Math.abs(a[i] - part - t * (c[i] - part)) < 6);
}

/** In the browser: colours like #1a78b8 of the picture at points of its box. */
function coloursAt(points) {
  const canvas = document.getElementById('arena');
  const copy = document.createElement('canvas');
  Object.assign(copy, { width: canvas.width, height: canvas.height });
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return points.map(([x, y]) => {
    const { data } = context.getImageData((x * canvas.width) / canvas.clientWidth, (y * canvas.height) / canvas.clientHeight, 1, 1);
    return data[3] === 0 ? getComputedStyle(document.documentElement).getPropertyValue('--page').trim() : `#${Array.from(data.subarray(0, 3), (part) => part.toString(16).padStart(2, '0')).join('')}`;
  });
}

/** The plans to choose from, which the command line may have none of. */
async function lookAtFrontier({ memory }) {
  const file = join(folder, 'frontier.html');
  const none = { names: [], scopes: [], storages: [], births: [], deaths: [], offsets: [], bytes: [] };
  const picture = {
    alignment: 64, arenaBytes: 64, persistentBytes: 0, processBytes: 0, strings: ['op'], storageClasses: ['workspace'], persistent: none,
    programs: [{ name: 'step', phases: [{ phase: 'forward', from: 0, to: 0 }], nodes: [0], rectangles: { ...none, names: [0], scopes: [0], storages: [0], births: [0], deaths: [0], offsets: [0], bytes: [64] },
      peakPosition: 0, liveBytes: [64, 0] }],
  };
  const point = (forecastBytes, stepMs, numerics, summary, changes) => ({ forecastBytes, stepMs, tokensPerSecond: 1e6 / stepMs, numerics, summary, changes, chosen: changes.length === 0 });
  const frontier = [point(3e9, 900, 'bitwise', 'everything kept', ['no recompute']), point(2e9, 1100, 'reordered', 'recompute <all>', []), point(1e9, 2000, 'changed', 'bf16', ['bf16 activations'])];
  writeFileSync(file, renderMemoryPage({ title: 'plans', facts: [], report: memory, picture, frontier, budgetBytes: 2.5e9 }));
  const tab = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const troubles = [];
  tab.on('pageerror', (error) => troubles.push(String(error)));
  tab.on('console', (message) => troubles.push(message.text()));
  await tab.goto(pathToFileURL(file).href);
  await check('plans: one mark each, the chosen one ringed, each tells what changes', async () => {
    assert.equal(await tab.locator('#frontier .point').count(), 3);
    assert.equal(await tab.locator('#frontier .ring').count(), 1);
    assert.equal(await tab.textContent('#frontier .budget-label'), 'budget 2.33 GiB');
    await tab.hover('#frontier .tier-changed .mark');
    assert.match(await tab.innerText('#tip'), /^bf16[^]*953\.7 MiB[^]*2 s a step[^]*500 tokens\/s[^]*changed[^]*bf16 activations/);
    await tab.focus('#frontier .chosen');
    assert.match(await tab.innerText('#tip'), /^recompute <all>/);
    assert.deepEqual(troubles, []);
  });
  await tab.close();
}

async function lookAt({ memory, model, budgetBytes }, { colorScheme, viewport }) {
  const context = await browser.newContext({ viewport, colorScheme, hasTouch: viewport.width < 500 });
  const tab = await context.newPage();
  const troubles = [];
  tab.on('console', (message) => troubles.push(`${message.type()}: ${message.text()}`));
  tab.on('pageerror', (error) => troubles.push(String(error)));
  tab.on('request', (request) => {
    if (!/^(file|data):/.test(request.url())) troubles.push(`asks for ${request.url()}`);
  });
  await tab.goto(pathToFileURL(page).href);
  const where = `${colorScheme}, ${viewport.width} px`;
  const values = (selector) => tab.$$eval(`${selector} data`, (all) => all.map((element) => Number(element.value)));
  const tip = () => tab.$eval('#tip', (element) => (element.hidden ? '' : element.innerText));
  const picture = JSON.parse(await tab.$eval('#data', (element) => element.textContent)).picture;

  await check(`${where}: numbers are those of --json`, async () => {
    assert.deepEqual(await values('.tiles'), [memory.forecastBytes, memory.arenaBytes, picture.persistentBytes, memory.processBytes, budgetBytes]);
    assert.deepEqual(await values('#classes'), [...memory.classes.map(({ bytes }) => bytes), memory.peakLiveBytes]);
    assert.deepEqual(await values('#groups'), memory.groups.flatMap(({ bytes, byClass }) => [bytes, ...memory.classes.map(({ storage }) => byClass[storage]).filter((held) => held > 0)]));
    assert.deepEqual(await values('#programs'), memory.programs.flatMap(({ transientBytes, peakLiveBytes }) => [transientBytes, peakLiveBytes]));
    assert.deepEqual(picture.programs.map((program) => program.liveBytes[program.peakPosition]), memory.programs.map(({ peakLiveBytes }) => peakLiveBytes));
    assert.equal(await tab.title(), `Memory plan of ${model.name}`);
  });

  await check(`${where}: nothing is wider than the window`, async () => {
    assert.equal(await tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
  });

  await tab.evaluate(() => document.getElementById('the-arena').scrollIntoView());
  await tab.waitForTimeout(200);
  const program = picture.programs.find(({ name }) => name === memory.peak.program);
  const { rectangles } = program;
  const largest = rectangles.bytes.indexOf(Math.max(...rectangles.bytes));
  const box = await tab.locator('#arena').boundingBox();
  // As frameOf in src/watch/page/arena-view.js lays the picture out.
  const frame = { left: 62, top: 42, width: box.width - 72, height: box.height - 66 };
  const pixel = (position, byte) => [frame.left + (position / (program.nodes.length + 1)) * frame.width, frame.top + frame.height * (1 - byte / picture.arenaBytes)];

  await check(`${where}: the picture has the colour of the value at each place`, async () => {
    const places = samples(picture, program);
    const drawn = await tab.evaluate(coloursAt, places.map(({ position, byte }) => pixel(position, byte)));
    const colours = await tab.evaluate((names) => names.map((name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()), [...picture.storageClasses, 'page']);
    const colourOf = ({ storage }) => colours[storage ?? picture.storageClasses.length];
    const right = places.filter((place, i) => isMixOf(drawn[i], colourOf(place), colours.at(-1)));
    // Names, seams, grid and the line of the peak are drawn over the rest.
    assert.ok(right.length > places.length * 0.94, `${right.length} of ${places.length} places have their colour`);
    for (const name of ['parameter', 'gradient', 'optimizer-state', 'activation', 'workspace']) {
      const storage = picture.storageClasses.indexOf(name);
      assert.ok(right.some((place) => place.storage === storage), `no place has the colour of ${name}`);
    }
  });

  await check(`${where}: hovering the largest rectangle names it`, async () => {
    const position = (rectangles.births[largest] + rectangles.deaths[largest] + 1) / 2;
    const byte = rectangles.offsets[largest] + rectangles.bytes[largest] / 2;
    const [x, y] = pixel(position, byte);
    await tab.mouse.move(box.x + x, box.y + y);
    const text = await tip();
    assert.ok(text.startsWith(picture.strings[rectangles.names[largest]]), `the tip says '${text}'`);
    assert.ok(text.includes(picture.storageClasses[rectangles.storages[largest]]), text);
    assert.ok(text.includes(`${rectangles.births[largest]} ${picture.strings[program.nodes[rectangles.births[largest]]]} (`), text);
    await inWindow();
    if (viewport.width >= 500) return;
    await tab.mouse.move(0, 0);
    assert.equal(await tip(), '');
    await tab.touchscreen.tap(box.x + 62 + frame.width / 2, box.y + 42 + frame.height - 2);
    assert.ok((await tip()).includes('always'), `after a tap on a parameter the tip says '${await tip()}'`);
  });

  await check(`${where}: keys go to the peak, walk and zoom`, async () => {
    await tab.focus('#arena');
    await tab.keyboard.press('p');
    const first = await tip();
    await tab.keyboard.press('ArrowUp');
    const second = await tip();
    assert.ok(first !== '' && second !== '' && first !== second, `'${first}' and '${second}'`);
    assert.equal(await tab.isDisabled('#reset'), true);
    await tab.keyboard.press('+');
    await tab.waitForFunction(() => !document.getElementById('reset').disabled);
    await inWindow();
    await tab.keyboard.press('0');
    await tab.waitForFunction(() => document.getElementById('reset').disabled);
    await tab.keyboard.press('Escape');
    assert.equal(await tip(), '');
  });

  await check(`${where}: wheel, box and double-click zoom`, async () => {
    const at = (x, y) => [box.x + 62 + (box.width - 72) * x, box.y + 42 + (box.height - 66) * y];
    await tab.mouse.move(...at(0.5, 0.5));
    await tab.mouse.wheel(0, -300);
    await tab.waitForFunction(() => !document.getElementById('reset').disabled);
    await tab.mouse.dblclick(...at(0.5, 0.5));
    await tab.waitForFunction(() => document.getElementById('reset').disabled);
    await tab.mouse.move(...at(0.2, 0.2));
    await tab.mouse.down();
    await tab.mouse.move(...at(0.4, 0.5), { steps: 3 });
    await tab.mouse.up();
    await tab.waitForFunction(() => !document.getElementById('reset').disabled);
    await tab.click('#reset');
    await tab.waitForFunction(() => document.getElementById('reset').disabled);
  });

  await check(`${where}: every program has its picture and its list`, async () => {
    for (const { name } of picture.programs) {
      await tab.selectOption('#program', name);
      await tab.click('[data-part="transient"]');
      await tab.click('[data-part="whole"]');
      assert.equal(await tab.textContent('#kinds-program'), name);
      assert.ok(await tab.locator('#kinds tr').count() > 2, `the list of ${name} is short`);
    }
  });

  await check(`${where}: nothing is said on the console, nothing is asked for`, () => assert.deepEqual(troubles, []));
  await context.close();

  async function inWindow() {
    const { x, y, width, height } = await tab.locator('#tip').boundingBox();
    assert.ok(x >= 0 && y >= 0 && x + width <= viewport.width && y + height <= viewport.height, `the tip is at ${x}, ${y}, ${width} × ${height}`);
  }
}
