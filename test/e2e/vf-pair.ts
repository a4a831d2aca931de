/** Two served VFs between which state moves, for the tests of one file. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { type Cli, endAll } from './cli.ts';
import { makeDirectory, removeDirectory, VfUnderTest } from './vf-under-test.ts';

/** Makes a tool wait before a phase, until it gets SIGUSR2. */
export const PAUSE = 'XE_VFIO_TEST_PAUSE_AT';

/** What there is of two VFs once the tests of a file run. */
export interface VfPair {
  readonly directory: string;
  readonly a: VfUnderTest;
  readonly b: VfUnderTest;
  /** Both as they are before a migration, with something in `a`. */
  prepare(text: string): Promise<void>;
}

/** Serves two VFs around the tests of the file that calls this. */
export function servedPair(): VfPair {
  const directory = makeDirectory();
  let vfs: readonly VfUnderTest[] = [];
  const vf = (index: number) => vfs[index] as VfUnderTest;
  beforeAll(async () => {
    const start = (name: string) => VfUnderTest.start(join(directory, `${name}.sock`));
    vfs = await Promise.all([start('a'), start('b')]);
  });
  afterEach(endAll);
  afterAll(async () => {
    await Promise.all(vfs.map((one) => one.stop()));
    removeDirectory(directory);
  });
  return {
    directory,
    get a() {
      return vf(0);
    },
    get b() {
      return vf(1);
    },
    async prepare(text) {
      for (const one of vfs)
        if ((await one.state()) !== 'RUNNING') await one.setState(MIG_STATE.RUNNING);
      await vf(0).write(text);
    },
  };
}

/** Waits until `tool` waits before a phase. */
export async function untilPaused(tool: Cli, phase: string): Promise<void> {
  await tool.until(`pause before ${phase}`, () => tool.stderr.includes(`paused before ${phase}`));
}
