/** The ordered table of techniques. A new one is one file and one line here. */

import { accumulation } from './accumulation.ts';
import { offload } from './offload.ts';
import { optimizer } from './optimizer.ts';
import { packing } from './packing.ts';
import { planned, type PlannedTechnique } from './technique.ts';

export const TECHNIQUES: readonly PlannedTechnique[] = [planned(packing), planned(accumulation), planned(optimizer), planned(offload)];
