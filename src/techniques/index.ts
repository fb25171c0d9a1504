/** The ordered table of techniques. A new one is one file and one line here. */

import { accumulation } from './accumulation.ts';
import { offload } from './offload.ts';
import { chunkedLoss } from './chunked-loss.ts';
import { optimizer } from './optimizer.ts';
import { packing } from './packing.ts';
import { recompute } from './recompute.ts';
import { precision } from './precision.ts';
import { planned, type PlannedTechnique } from './technique.ts';
import { updateTime } from './update-time.ts';

export const TECHNIQUES: readonly PlannedTechnique[] = [
  planned(packing), planned(accumulation), planned(precision), planned(chunkedLoss), planned(optimizer), planned(recompute), planned(updateTime), planned(offload),
];
