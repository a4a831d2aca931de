import { describe, expect, test } from 'vitest';
import { SeededRandom } from '../../support/random.ts';
import { BB_END, bbStart, memCopy, memSet, sdi } from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const SIZE = 1 << 20;
const FROM = 0x100_0000;
const TO = 0x200_0000;

function blitterRig(): EngineRig {
  const rig = new EngineRig({ engine: 'bcs0' });
  rig.ppgtt.map(FROM, SIZE).map(TO, SIZE);
  const random = new SeededRandom(1);
  for (let at = FROM; at < FROM + SIZE; at += 4096)
    rig.ppgtt.put(
      at,
      Array.from({ length: 1024 }, () => random.below(2 ** 32)),
    );
  return rig;
}

function bytes(rig: EngineRig, address: number): string {
  const all = new Uint8Array(SIZE);
  rig.ppgtt.read(address, all);
  return Buffer.from(all).toString('base64');
}

describe('a copy', () => {
  test('is done in one turn when the budget allows', () => {
    const rig = blitterRig();
    expect(rig.runBatch(...memCopy(FROM, TO, SIZE))).toBe('idle');
    expect(bytes(rig, TO)).toBe(bytes(rig, FROM));
    expect(rig.copied).toBe(SIZE);
    expect(rig.commands.get('MEM_COPY')).toBe(1);
  });

  test('goes on over turns, also when the context is taken off in between', () => {
    const rig = blitterRig();
    const after = PPGTT.data;
    rig.ppgtt.put(PPGTT.batch, [
      ...memSet(TO, 4096, 0x33),
      ...memCopy(FROM, TO, SIZE),
      ...sdi(after, 1),
      BB_END,
    ]);
    rig.submit(...bbStart(PPGTT.batch));
    let execution = rig.load();
    let turns = 0;
    for (let end = execution.turn(20); end !== 'idle'; end = execution.turn(20)) {
      expect(end).toBe('more');
      expect(execution.preemptible).toBe(true);
      expect(rig.ppgtt.get(after)).toEqual([0]);
      turns++;
      if (turns % 2 === 0) execution = rig.load(execution.save());
    }
    expect(turns).toBeGreaterThan(5);
    expect(bytes(rig, TO)).toBe(bytes(rig, FROM));
    expect(rig.ppgtt.get(after)).toEqual([1]);
    expect(rig.copied).toBe(SIZE + 4096);
    expect(rig.commands.get('MEM_COPY')).toBe(1);
  });

  test('gives the engine back when memory is slow, however little it has copied', () => {
    const rig = blitterRig();
    // Each look at the clock finds that another millisecond has gone by.
    let time = 0;
    rig.clock = () => time++;
    expect(rig.runBatch(...memCopy(FROM, TO, SIZE))).toBe('more');
    expect(rig.copied).toBe(128 * 1024);
    expect(rig.commands.get('MEM_COPY')).toBeUndefined();
  });

  test('in a context restore is not taken for that of the context', () => {
    const rig = blitterRig();
    const restore = GGTT.batch;
    rig.ggtt.put(restore, [...memSet(PPGTT.data, 8192, 1), BB_END]);
    rig.setReg(0x13, restore | 1);
    rig.ppgtt.put(PPGTT.batch, [...memCopy(FROM, TO, SIZE), BB_END]);
    rig.submit(...bbStart(PPGTT.batch));
    const first = rig.load();
    expect(first.turn(100)).toBe('more');
    const position = first.save();
    expect(position.dwords.length).toBe(7);
    // Taken off within its restore, the context still stands where it stood.
    const second = rig.load(position);
    expect(second.turn(1)).toBe('more');
    expect(second.save().dwords).toEqual(position.dwords);
    expect(rig.load(position).turn(1000)).toBe('idle');
    expect(bytes(rig, TO)).toBe(bytes(rig, FROM));
  });

  test('that faults goes on once the page is there', () => {
    const rig = blitterRig();
    const page = TO + SIZE / 2;
    rig.ppgtt.pages.delete(page);
    rig.ppgtt.put(PPGTT.batch, [...memCopy(FROM, TO, SIZE), BB_END]);
    rig.submit(...bbStart(PPGTT.batch));
    const execution = rig.load();
    expect(execution.turn(1000)).toBe('page-fault');
    expect(execution.fault).toMatchObject({ address: page, access: 'write' });
    const again = rig.load(execution.save());
    expect(again.turn(1000)).toBe('page-fault');
    rig.ppgtt.map(page, 4096);
    expect(again.turn(1000)).toBe('idle');
    expect(bytes(rig, TO)).toBe(bytes(rig, FROM));
  });

  test('of a length that the command does not have hangs', () => {
    expect(blitterRig().runBatch(0x5680_0007, ...new Array(8).fill(0))).toBe('hang');
  });

  test('is no command of other engines', () => {
    for (const engine of ['rcs0', 'ccs0', 'vcs0', 'vecs0']) {
      const rig = new EngineRig({ engine });
      expect(rig.runBatch(...memCopy(PPGTT.data, PPGTT.data + 64, 4)), engine).toBe('hang');
    }
  });
});
