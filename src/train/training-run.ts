/**
 * `train` and `resume`: a run that starts at once, tells its events to whoever listens, can be asked for a checkpoint, and is stopped by a
 * signal or by disposing of it.
 */

import { mkdtempSync, renameSync, rmSync, mkdirSync, existsSync } from 'node:fs';
import { dirname, join, resolve as absolute } from 'node:path';
import { FulltuneError } from '../base/errors.ts';
import { newestCheckpoint, verifyCheckpoint } from '../files/checkpoint.ts';
import { readJson } from '../files/json.ts';
import { appendEvent, chooseRunDirectory, createRunDirectory, lockRun, openRun, truncateEventsAfter, writeRunFile } from '../files/run-directory.ts';
import { parseConfig } from '../run/config-schema.ts';
import { configFromYaml, configToYaml } from '../run/config-yaml.ts';
import type { RunEvent } from '../run/events.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { EventStream } from './event-stream.ts';
import { prepareRun, requireFit, shortName, type PreparedRun } from './prepare-run.ts';
import { RunFiles } from './run-files.ts';
import { trainRun, type RunControl, type RunResult } from './trainer.ts';
