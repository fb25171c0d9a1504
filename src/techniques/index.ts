/** The ordered table of techniques. A new one is one file and one line here. */

import { accumulation } from './accumulation.ts';
import { chunkedLoss } from './chunked-loss.ts';
import { optimizer } from './optimizer.ts';
import { packing } from './packing.ts';
import { planned, type PlannedTechnique } from './technique.ts';

export const TECHNIQUES: readonly PlannedTechnique[] = [planned(packing), planned(accumulation), planned(chunkedLoss), planned(optimizer)];
