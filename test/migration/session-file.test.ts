import { describe, expect, test } from 'vitest';
import { Fault, MigrationFault, StreamFault } from '../../src/base/fault.ts';
import { restore } from '../../src/migration/session-restore.ts';
import { type StateSink, save } from '../../src/migration/session-save.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { FakeVfioDevice } from './fake-vfio-device.ts';

const CONTENT = Uint8Array.from({ length: 2500 }, (_, at) => at % 251);

class MemorySink implements StateSink<number> {
  readonly parts: Uint8Array[] = [];
  finished = false;
  aborted = false;
  /** Fails at this call: a number of a write, or `finish`. */
  failAt: number | 'finish' | undefined;

  async write(bytes: Uint8Array): Promise<void> {
    if (this.parts.length === this.failAt) throw new Fault('ENOSPC', 'the disk is full');
    this.parts.push(Uint8Array.from(bytes));
  }

  async finish(): Promise<number> {
    if (this.failAt === 'finish') throw new Fault('ENOSPC', 'the disk is full');
    this.finished = true;
    return this.parts.reduce((sum, { length }) => sum + length, 0);
  }

  async abort(): Promise<void> {
    if (!this.finished) this.aborted = true;
  }
}

async function failureOf(run: Promise<unknown>): Promise<MigrationFault> {
  const error = await run.catch((fault: unknown) => fault);
  expect(error).toBeInstanceOf(MigrationFault);
  return error as MigrationFault;
}

describe('save', () => {
  test('keeps the content and leaves the source stopped', async () => {
    const source = new FakeVfioDevice(CONTENT);
    const sink = new MemorySink();
    const result = await save({ device: source.device }, async () => sink);
    expect(result.kept).toBe(CONTENT.length);
    expect([...Buffer.concat(sink.parts)]).toEqual([...CONTENT]);
    expect(source.state).toBe(MIG_STATE.STOP);
    expect(result.phases.map(({ name }) => name)).toEqual([
      'prepare',
      'stop',
      'copy',
      'load',
      'done',
    ]);
  });

  test.each([-3, 5])(
    'takes a size that is an estimate for one, %i bytes off',
    async (extraBytes) => {
      const source = new FakeVfioDevice(CONTENT);
      source.extraBytes = extraBytes;
      const failed = await failureOf(save({ device: source.device }, async () => new MemorySink()));
      expect(failed.code).toBe('EIO');
      const device = Object.assign(source.device, { migrationDataSizeIsEstimate: true });
      const result = await save({ device }, async () => new MemorySink());
      expect(result.kept).toBe(CONTENT.length + extraBytes);
    },
  );

  test('lets the source run on when asked to', async () => {
    const source = new FakeVfioDevice(CONTENT);
    const sink = new MemorySink();
    await save({ device: source.device }, async () => sink, { resume: true });
    expect(source.state).toBe(MIG_STATE.RUNNING);
    expect(sink.finished).toBe(true);
  });

  test.each([0, 2, 'finish'] as const)(
    'lets the source run on when the disk is full at %s',
    async (failAt) => {
      const source = new FakeVfioDevice(CONTENT);
      const sink = new MemorySink();
      sink.failAt = failAt;
      const fault = await failureOf(save({ device: source.device }, async () => sink));
      expect(fault).toMatchObject({ code: 'ENOSPC', role: 'target' });
      expect(fault.ends).toEqual({ source: 'running', target: 'untouched' });
      expect(source.state).toBe(MIG_STATE.RUNNING);
      expect([sink.finished, sink.aborted]).toEqual([false, true]);
    },
  );

  test('never stops the source when the file cannot be made', async () => {
    const source = new FakeVfioDevice(CONTENT);
    const open = () => Promise.reject(new Fault('EACCES', 'not here'));
    const fault = await failureOf(save({ device: source.device }, open));
    expect(fault).toMatchObject({ code: 'EACCES', phase: 'prepare' });
    expect(source.states).toEqual([MIG_STATE.RUNNING]);
  });

  test('comes back from any call that the source refuses, and keeps nothing', async () => {
    for (let call = 0; call < 12; call++) {
      const source = new FakeVfioDevice(CONTENT);
      source.failAt(call, 'refuse');
      const sink = new MemorySink();
      const run = save({ device: source.device }, async () => sink);
      if (await run.then(() => true).catch(() => false)) continue;
      expect(source.state).toBe(MIG_STATE.RUNNING);
      expect(sink.finished).toBe(false);
    }
  });
});

describe('restore', () => {
  function kept(content = CONTENT, failAt = Number.POSITIVE_INFINITY) {
    let at = 0;
    return {
      size: content.length,
      read: async (max: number) => {
        if (at >= failAt) throw new StreamFault('EBADMSG', 'altered', { offset: at, packet: 1 });
        const piece = content.subarray(at, at + Math.min(max, 1000));
        at += piece.length;
        return piece.length > 0 ? [piece] : [];
      },
    };
  }

  test('brings the content into the target, which then runs', async () => {
    const target = new FakeVfioDevice(new Uint8Array());
    const result = await restore(kept(), { device: target.device });
    expect(result.streamBytes).toBe(CONTENT.length);
    expect([...target.content]).toEqual([...CONTENT]);
    expect(target.state).toBe(MIG_STATE.RUNNING);
  });

  test('resets the target when the file turns out to be altered', async () => {
    const target = new FakeVfioDevice(new Uint8Array());
    const fault = await failureOf(restore(kept(CONTENT, 1000), { device: target.device }));
    expect(fault).toMatchObject({ code: 'EBADMSG', role: 'source', phase: 'copy' });
    expect(fault.ends).toEqual({ source: 'untouched', target: 'reset' });
    expect(fault.cause).toBeInstanceOf(StreamFault);
    expect(target.content).toHaveLength(0);
  });

  test('touches nothing when the profile does not fit', async () => {
    const target = new FakeVfioDevice(new Uint8Array());
    const state = { ...kept(), profile: { vramSize: 4096 } };
    const fault = await failureOf(
      restore(state, { device: target.device, profile: { vramSize: 0 } }),
    );
    expect(fault.code).toBe('EREMCHG');
    expect(target.calls).toEqual([]);
  });

  test('resets the target after any call that it refuses', async () => {
    for (let call = 0; call < 8; call++) {
      const target = new FakeVfioDevice(new Uint8Array());
      target.failAt(call, 'refuse');
      const run = restore(kept(), { device: target.device });
      if (await run.then(() => true).catch(() => false)) continue;
      expect(target.state).toBe(MIG_STATE.RUNNING);
      expect(target.content).toHaveLength(0);
    }
  });
});
