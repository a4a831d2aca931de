/**
 * The demonstration: a VF of an emulated GPU is migrated between two processes while a guest works on
 * it, and digests of each resource, taken by the two servers from their GPUs, prove that nothing was
 * lost.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VfDigests } from '../gpu/digests.ts';
import type { MigrationEvent, PhaseRecord } from '../migration/migration-phase.ts';
import { migrate } from '../migration/session.ts';
import { type PlatformName, platformByName } from '../xe/platforms.ts';
import { DemoGuest } from './demo-guest.ts';
import type { LoadCounts } from './guest-load.ts';
import { ServerProcess } from './server-process.ts';
import { connectVf } from './vf-connection.ts';

/** VRAM of the VF unless told otherwise: enough to take a moment, little enough for any machine. */
const DEFAULT_VRAM = 2 ** 30;
/** How long the guest works before the migration begins, and after it. */
const WORK_MS = 400;
/** A socket's path has at most 107 bytes; a temporary directory with a longer one is not used. */
const LONGEST_TMPDIR = 80;
const VFIDS = { source: 1, target: 2 } as const;

/** What to show. */
export interface DemoOptions {
  readonly platform: string;
  /** Bytes of VRAM of the VF, on a discrete part. */
  readonly vramSize?: number | undefined;
  readonly signal: AbortSignal;
  readonly onEvent: (event: DemoEvent) => void;
}

/** What happens in the demo, in order. */
export type DemoEvent =
  | { readonly type: 'servers'; readonly source: number; readonly target: number }
  | { readonly type: 'booted' }
  | { readonly type: 'stopped'; readonly counts: LoadCounts }
  | { readonly type: 'digests'; readonly source: VfDigests; readonly target: VfDigests }
  | { readonly type: 'resumed'; readonly counts: LoadCounts }
  | MigrationEvent;

/** The proof. */
export interface DemoResult {
  /** True when every digest is the same on both sides. */
  readonly ok: boolean;
  readonly platform: PlatformName;
  readonly vramBytes: number;
  readonly streamBytes: number;
  readonly downtimeMs: number;
  readonly totalMs: number;
  readonly bytesPerSecond: number;
  readonly phases: readonly PhaseRecord[];
  readonly source: VfDigests;
  readonly target: VfDigests;
}

/** Things to end, last one first. */
class Cleanup {
  readonly #steps: Array<() => Promise<unknown>> = [];

  add(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }
}

/**
 * Runs the demonstration.
 *
 * @throws {Fault} ENODEV when a server does not start, EIO when the guest fails
 * @throws {MigrationFault} see `migrate`; ECANCELED when `signal` ended it
 */
export async function demo(options: DemoOptions): Promise<DemoResult> {
  const cleanup = new Cleanup();
  try {
    return await run(options, cleanup);
  } finally {
    await cleanup.run();
  }
}

async function run(options: DemoOptions, cleanup: Cleanup): Promise<DemoResult> {
  const { onEvent, signal } = options;
  const platform = platformByName(options.platform);
  const vramSize = platform.discrete ? (options.vramSize ?? DEFAULT_VRAM) : 0;
  const directory = await mkdtemp(join(shortTmpdir(), 'xe-vfio-demo-'));
  cleanup.add(() => rm(directory, { recursive: true, force: true }));
  const paths = { source: join(directory, 'source.sock'), target: join(directory, 'target.sock') };

  const start = async (role: 'source' | 'target') => {
    const vram = platform.discrete ? ['--vram', String(vramSize)] : [];
    const vf = ['--vfs', '2', '--vf', String(VFIDS[role])];
    const place = ['--platform', platform.name, '--socket', paths[role]];
    const server = await ServerProcess.start([...place, ...vf, ...vram]);
    cleanup.add(() => server.stop());
    return server;
  };
  const [source, target] = await allOrNone([start('source'), start('target')]);
  onEvent({ type: 'servers', source: source.pid, target: target.pid });

  const guest = await DemoGuest.boot(paths.source, 0x5eed);
  cleanup.add(() => guest.end());
  onEvent({ type: 'booted' });
  await sleep(WORK_MS, undefined, { signal }).catch(() => {});

  const a = await connectVf(paths.source);
  cleanup.add(() => a.close());
  const b = await connectVf(paths.target);
  cleanup.add(() => b.close());
  let digests: { readonly source: VfDigests; readonly target: VfDigests } | undefined;
  const result = await migrate(a, b, {
    signal,
    onEvent,
    beforePhase: async (phase) => {
      if (phase === 'stop') onEvent({ type: 'stopped', counts: await guest.stop() });
      if (phase !== 'run') return;
      const [from, to] = await Promise.all([
        source.ask({ op: 'digests', vfid: VFIDS.source }),
        target.ask({ op: 'digests', vfid: VFIDS.target }),
      ]);
      digests = { source: from, target: to };
      onEvent({ type: 'digests', ...digests });
    },
  });
  if (digests === undefined) throw new TypeError('no digests were taken');

  await guest.move(paths.target);
  await sleep(WORK_MS, undefined, { signal }).catch(() => {});
  onEvent({ type: 'resumed', counts: await guest.stop() });
  return {
    ok: isEqual(digests.source, digests.target),
    platform: platform.name,
    vramBytes: a.profile?.vramSize ?? vramSize,
    ...result,
    ...digests,
  };
}

function isEqual(a: VfDigests, b: VfDigests): boolean {
  return a.vram === b.vram && a.ggtt === b.ggtt && a.mmio === b.mmio && a.guc === b.guc;
}

function shortTmpdir(): string {
  const directory = tmpdir();
  return directory.length <= LONGEST_TMPDIR ? directory : '/tmp';
}

/** Waits for all, also when one of them fails, so that nothing is left behind unseen. */
async function allOrNone<T>(promises: readonly [Promise<T>, Promise<T>]): Promise<[T, T]> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}
