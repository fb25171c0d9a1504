import { describe, expect, it } from 'vitest';
import { genericCalibration, parseCalibration } from '../cost/calibration.ts';
import { calibrationChecks } from './doctor.ts';

describe('what doctor says of a calibration', () => {
  const calibration = genericCalibration({ threads: 2 });

  it('names the rates, and nothing else where the machine was quiet', () => {
    expect(calibrationChecks(calibration).map(({ name }) => name)).toEqual(['products', 'attention', 'memory rate', 'disk rate']);
    expect(calibrationChecks({ ...calibration, othersShare: 0.05 })).toEqual(calibrationChecks(calibration));
  });

  it('says how busy others were, and what to do', () => {
    expect(calibrationChecks({ ...calibration, othersShare: 0.46 }).at(-1)).toEqual({
      name: 'quiet', ok: true, detail: 'other programs had 46 % of the processors while these rates were measured: predicted times may be too long',
      remedy: 'Run fulltune doctor --recalibrate when they have ended.',
    });
  });

  it('reads stored ones with and without that share', () => {
    for (const stored of [calibration, { ...calibration, othersShare: 0.3 }]) expect(parseCalibration(JSON.parse(JSON.stringify(stored)))).toEqual(stored);
    expect(parseCalibration({ ...calibration, othersShare: 'half' })).toBeUndefined();
  });
});
