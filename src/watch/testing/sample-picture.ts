/** A picture of three nodes, small enough to check by eye, with a name that is HTML. */

import type { MemoryPicture, MemoryReport } from '../../index.ts';
import { STORAGE_CLASSES } from '../../run/storage-class.ts';

const [parameter, activation, workspace] = (['parameter', 'activation', 'workspace'] as const).map((storage) => STORAGE_CLASSES.indexOf(storage));

export function samplePicture(): MemoryPicture {
  return {
    alignment: 64, arenaBytes: 256, persistentBytes: 128, processBytes: 1000,
    strings: ['model.layers.0.w', 'model.layers.1.w', 'layers.0.mlp', 'layers.1.mlp', 'layers.0.mlp/<b>', 'layers.1.mlp/<b>', 'layers.0.mlp/matmul', 'layers.1.mlp/matmul', 'loss', 'scratch of loss', ''],
    storageClasses: STORAGE_CLASSES,
    persistent: { names: [0, 1], scopes: [2, 3], storages: [parameter!, parameter!], births: [], deaths: [], offsets: [0, 64], bytes: [64, 60] },
    programs: [{
      name: 'step </script>',
      phases: [{ phase: 'forward', from: 0, to: 1 }, { phase: 'backward', from: 2, to: 2 }],
      nodes: [6, 7, 8],
      rectangles: {
        names: [4, 5, 9], scopes: [2, 3, 10], storages: [activation!, activation!, workspace!],
        births: [1, 1, 2], deaths: [1, 3, 2], offsets: [128, 192, 128], bytes: [64, 50, 40],
      },
      peakPosition: 1,
      liveBytes: [128, 256, 256, 192],
    }],
  };
}

export function sampleReport(): MemoryReport {
  return {
    arenaBytes: 256, fileBytes: 0, peakLiveBytes: 256, fragmentation: 0, processBytes: 1000, forecastBytes: 1256,
    classes: [{ storage: 'parameter', bytes: 128 }, { storage: 'activation', bytes: 128 }],
    groups: [{ name: 'layers.0 … layers.1 (each)', bytes: 128, byClass: { parameter: 64, activation: 64 } }],
    peak: { program: 'step </script>', node: 'layers.1.mlp/matmul (forward)' },
    programs: [{ name: 'step </script>', instructions: 3, transientBytes: 128, peakLiveBytes: 256 }],
  };
}
