/**
 * Does the work of some rounds in a run directory, and kills itself at the n-th point of it. Run by checkpoint.test.ts on the built code, so that
 * the process that dies is one without a test runner in it.
 *
 *   node checkpoint-child.mjs RUN_DIRECTORY POINT FIRST_ROUND LAST_ROUND (new | replace)
 *
 * `new`: round n writes checkpoint n and keeps two. `replace`: each round writes checkpoint 3 again, and model/.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { finishModel, rotateCheckpoints, writeCheckpoint } from '../../dist/files/checkpoint.js';
import { appendEvent } from '../../dist/files/event-log.js';
import { writeSafetensors } from '../../dist/files/write-safetensors.js';

const [runDirectory, lastPoint, firstRound, lastRound, mode] = process.argv.slice(2);
let point = 0;

/** Dies here when it is time; says which point it was. */
function passing(name) {
  point++;
  if (point === Number(lastPoint)) {
    writeFileSync(1, name);
    process.kill(process.pid, 'SIGKILL');
  }
}

/** Content follows from the step alone: the test knows what must be there. */
async function fill(folder, step) {
  passing('empty folder');
  const { sha256 } = await writeSafetensors({
    path: join(folder, 'model.safetensors'),
    tensors: [{ name: 'a', dtype: 'F32', shape: [3000] }, { name: 'b', dtype: 'F32', shape: [3000] }],
    fill: (name, write) => {
      write(new Uint8Array(5000).fill(step));
      passing(`inside ${name}`);
      write(new Uint8Array(7000).fill(step));
    },
  });
  passing('weights written');
  writeFileSync(join(folder, 'trainer_state.json'), JSON.stringify({ step }));
  passing('all files written');
  return { 'model.safetensors': sha256 };
}

for (let round = Number(firstRound); round <= Number(lastRound); round++) {
  const step = mode === 'replace' ? 3 : round;
  const onStage = (stage) => passing(`${round}: ${stage}`);
  await writeCheckpoint(runDirectory, step, (folder) => fill(folder, step), { onStage });
  appendEvent(runDirectory, { kind: 'checkpoint', step, path: `checkpoint-${step}`, bytes: 0, saveMs: 0 });
  passing('event written');
  if (mode === 'replace') await finishModel(runDirectory, (folder) => fill(folder, round), { onStage });
  else await rotateCheckpoints(runDirectory, 2);
  passing('rotated');
}
writeFileSync(1, `finished after ${point} points`);
