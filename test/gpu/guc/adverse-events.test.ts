import { describe, expect, test } from 'vitest';
import { hxgRequest } from '../../../src/xe/guc/hxg.ts';
import { PF2GUC_ACTION, VF_CFG_KLV } from '../../../src/xe/guc/pf-actions.ts';
import { gtOf } from '../vf-driver.ts';
import { configure, scriptedGpu } from './engine-gpu.ts';

/** A VF whose contexts fail, and what its PF hears of it. */
function failing(thresholds: Parameters<typeof configure>[3], period = 1000) {
  const rig = scriptedGpu({ schedule: (task) => task() });
  const heard: number[][] = [];
  const { guc } = gtOf(rig.gpu, 0);
  guc.onEvent((message) => heard.push([...message]));
  const buffer = guc.buffer(8);
  new Uint32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, 2).set([0x8002_0001, period]);
  guc.send([hxgRequest(PF2GUC_ACTION.UPDATE_VGT_POLICY.action), buffer.ggttAddress, 0, 2]);
  buffer.release();
  configure(rig.gpu, 0, 1, thresholds);
  const context = rig.vf.register(1);
  const fail = () => {
    rig.engines.script(context.lrc, { end: 'cat-error' });
    rig.vf.enable(context);
    rig.engines.run(5);
    rig.vf.disable(context);
    rig.vf.events();
  };
  return { ...rig, heard, fail, [Symbol.dispose]: () => rig.gpu.close() };
}

const adverse = (name: keyof typeof VF_CFG_KLV) => [0x9000_5104, 1, VF_CFG_KLV[name].key];

describe('adverse events', () => {
  test('are reported once a period, when the threshold is reached', () => {
    using rig = failing({ THRESHOLD_CAT_ERR: 3 });
    for (let n = 0; n < 2; n++) rig.fail();
    expect(rig.heard).toEqual([]);
    for (let n = 0; n < 4; n++) rig.fail();
    expect(rig.heard).toEqual([adverse('THRESHOLD_CAT_ERR')]);
    rig.engines.time += 1000;
    for (let n = 0; n < 3; n++) rig.fail();
    expect(rig.heard).toHaveLength(2);
  });

  test('are not counted without a period or a threshold', () => {
    using silent = failing({ THRESHOLD_CAT_ERR: 1 }, 0);
    silent.fail();
    expect(silent.heard).toEqual([]);
    using other = failing({ THRESHOLD_ENGINE_RESET: 2 });
    other.fail();
    expect(other.heard).toEqual([]);
    other.fail();
    expect(other.heard).toEqual([adverse('THRESHOLD_ENGINE_RESET')]);
  });
});
