import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { slurmScript, torchrunLine, workerWords } from './torchrun.ts';

const jobPath = '/runs/a b/torch/job.json';
const many = { plan: { worldSize: 32, ranksPerNode: 8 }, jobPath, rendezvous: 'node-1:29500', runId: 'a b' };

describe('the command of the ranks', () => {
  it('is the worker alone on one rank, torchrun on more', () => {
    expect(workerWords({ ...many, plan: { worldSize: 1, ranksPerNode: 1 } })).toEqual(['-m', 'fulltune_worker', jobPath]);
    expect(workerWords({ ...many, plan: { worldSize: 2, ranksPerNode: 2 } })).toEqual(['-m', 'torch.distributed.run', '--nproc-per-node', '2', '--standalone', '-m', 'fulltune_worker', jobPath]);
    expect(workerWords(many)).toContain('--rdzv-endpoint');
  });

  it('is a line that a shell takes, and a file that sbatch takes', () => {
    expect(torchrunLine('python3', '/w', many)).toBe(
      "PYTHONPATH=/w python3 -m torch.distributed.run --nproc-per-node 8 --nnodes 4 --rdzv-backend c10d --rdzv-endpoint node-1:29500 --rdzv-id 'a b' -m fulltune_worker '/runs/a b/torch/job.json'",
    );
    const script = slurmScript('python3', '/w', { ...many, name: 'a b', controlFolder: '/runs/a b/torch/control' });
    expect(script).toContain('#SBATCH --nodes=4\n#SBATCH --ntasks-per-node=1\n#SBATCH --gpus-per-node=8');
    expect(spawnSync('bash', ['-n'], { input: script }).status).toBe(0);
    expect(script).toContain('--rdzv-endpoint "$head:29500" --rdzv-id');
  });
});
