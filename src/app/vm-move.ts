/**
 * The use case migrate-vm: a running VM with a VF of ours goes from one stock QEMU to another.
 *
 * QEMU moves RAM, CPUs and all other devices; this moves the VF, tells QEMU which memory the VF
 * wrote, and brings the other QEMU's view of the device to what the guest made of it. docs/whole-vm.md
 * has the steps and their reasons.
 */
import { Fault, type MigrationEndState, MigrationFault, toFault } from '../base/fault.ts';
import type { MigrationPhase, MigrationResult } from '../migration/migration-phase.ts';
import { migrate } from '../migration/session.ts';
import { MIG_STATE } from '../vfio/migration-state.ts';
import { QmpClient } from './qmp.ts';
import { askVfServer } from './tool-request.ts';
import { connectVf, reportRollback, type VfConnection } from './vf-connection.ts';
import { type ConfigWrite, configDifferences, configWrites, readConfig, replayConfig } from './vm-config.ts';
import { checkVms, sharesMemory, type VmFacts, type VmVf, vfsOf, vmFacts, vmStatus } from './vm-facts.ts';
import { type RamProgress, VmMigration } from './vm-migration.ts';

/** The steps of a move, in their order. */
export const VM_MOVE_STEPS = [
  'check',
  'prepare',
  'ram',
  'pause',
  'rewrite',
  'copy',
  'switch',
  'replay',
  'run',
  'cont',
  'done',
] as const;
export type VmMoveStep = (typeof VM_MOVE_STEPS)[number];

/** What to move where. */
export interface VmMoveOptions {
  /** QMP sockets: paths, or `tcp:HOST:PORT`. */
  readonly from: string;
  readonly to: string;
  /** Sockets of the VF when they are not where the QEMUs say. */
  readonly fromVf?: string | undefined;
  readonly toVf?: string | undefined;
  /** Where RAM goes through: `tcp:HOST:PORT` or `unix:PATH` that the target listens on. */
  readonly via?: string | undefined;
  /** The guest is told nothing: only between equal GGTT ranges. */
  readonly transparent?: boolean | undefined;
  /** Milliseconds that QEMU may use for the rest of RAM, 300 unless given. */
  readonly maxDowntimeMs?: number | undefined;
  /** Leaves a source that is not needed any more instead of ending it. */
  readonly keepSource?: boolean | undefined;
  /** Parts to leave out, for tests that show what they are there for. */
  readonly without?: ReadonlySet<'dirty-log' | 'config-replay'> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: VmMoveEvent) => void) | undefined;
  /** Runs before each step; its time counts. */
  readonly beforeStep?: ((step: VmMoveStep) => Promise<void>) | undefined;
}

/** What a move tells. */
export type VmMoveEvent =
  | { readonly type: 'step'; readonly step: VmMoveStep; readonly atMs: number }
  | { readonly type: 'ram'; readonly progress: RamProgress }
  | { readonly type: 'note'; readonly text: string };

/** What a move was. */
export interface VmMoveResult {
  /** From QEMU's STOP at the source to its RESUME at the target. */
  readonly downtimeMs: number;
  /** The parts of the downtime, in their order; some run beside each other. */
  readonly parts: readonly { readonly name: string; readonly ms: number }[];
  readonly totalMs: number;
  readonly sharedMemory: boolean;
  /** Pages that the VF wrote while RAM was copied. */
  readonly dirtyPages: number;
  readonly vf: MigrationResult;
}

/** The time from which vCPUs wait for RAM unless told otherwise. */
const DEFAULT_DOWNTIME_MS = 300;

/**
 * Moves a VM.
 *
 * @throws {Fault} what does not fit, before anything was stopped; {@link MigrationFault} with the step
 * that failed, after the guest runs at the source again (its `ends` tell)
 */
export async function moveVm(options: VmMoveOptions): Promise<VmMoveResult> {
  const closers: (() => unknown)[] = [];
  try {
    const source = await QmpClient.connect(options.from);
    closers.push(() => source.close());
    const target = await QmpClient.connect(options.to);
    closers.push(() => target.close());
    const facts = { source: await vmFacts(source), target: await vmFacts(target) };
    checkVms(facts.source, facts.target);
    const fromPath = vfSocket(facts.source, options.fromVf, '--from-vf');
    const toPath = vfSocket(facts.target, options.toVf, '--to-vf');
    const from = await connectVf(fromPath);
    closers.push(() => from.close());
    const to = await connectVf(toPath);
    closers.push(() => to.close());
    return await new VmMove(options, { source, target, facts, from, to }).run();
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

function vfSocket(facts: VmFacts, told: string | undefined, option: string): string {
  const path = told ?? facts.vfs[0]?.socket;
  if (path === undefined)
    throw new Fault('ENOENT', 'QEMU does not tell where its VF is served', {
      hint: `name the socket with ${option}`,
    });
  return path;
}

interface Ends {
  readonly source: QmpClient;
  readonly target: QmpClient;
  readonly facts: { readonly source: VmFacts; readonly target: VmFacts };
  readonly from: VfConnection;
  readonly to: VfConnection;
}

/** One move. */
class VmMove {
  readonly #options: VmMoveOptions;
  readonly #ends: Ends;
  readonly #source: VmMigration;
  readonly #target: VmMigration;
  readonly #shared: boolean;
  readonly #start = performance.now();
  readonly #marks = new Map<VmMoveStep, number>();
  #step: VmMoveStep = 'check';
  #ran = false;
  #begun = false;
  #contSent = false;
  #writes: readonly ConfigWrite[] = [];
  #irq: number | undefined;
  #sourceVf: VmVf | undefined;
  #dirtyPages = 0;

  constructor(options: VmMoveOptions, ends: Ends) {
    this.#options = options;
    this.#ends = ends;
    this.#source = new VmMigration(ends.source, 'source');
    this.#target = new VmMigration(ends.target, 'target');
    this.#shared = sharesMemory(ends.facts.source, ends.facts.target);
  }

  async run(): Promise<VmMoveResult> {
    const { from, to } = this.#ends;
    try {
      await this.#enter('check');
      await this.#check();
      const vf = await migrate(from, to, {
        signal: this.#options.signal,
        beforePhase: (phase) => this.#beforePhase(phase),
      });
      await this.#enter('cont');
      await this.#cont();
      await this.#enter('done');
      return await this.#finish(vf);
    } catch (error) {
      throw await this.#rollBack(error);
    }
  }

  async #enter(step: VmMoveStep): Promise<void> {
    this.#step = step;
    await this.#options.beforeStep?.(step);
    this.#marks.set(step, performance.now());
    this.#options.onEvent?.({ type: 'step', step, atMs: performance.now() - this.#start });
  }

  /** Whatever can be known to fail fails here, where the guest does not notice. */
  async #check(): Promise<void> {
    const { from, to, facts } = this.#ends;
    const { transparent = false, without } = this.#options;
    const status = facts.source.status;
    if (status !== 'running' && status !== 'paused')
      throw new Fault('EBUSY', `the source QEMU is ${status}`, {
        hint: 'a VM is moved while it runs or is paused',
      });
    this.#ran = status === 'running';
    const { status: migration = 'none' } = await this.#source.info();
    if (!['none', 'completed', 'failed', 'cancelled'].includes(migration))
      throw new Fault('EBUSY', `another migration of the source QEMU is ${migration}`);
    const vf = await askVfServer(from.path, 'vf');
    const other = await askVfServer(to.path, 'vf');
    configWrites(readConfig(from.device), vf.irq);
    if (!this.#shared && vf.dmaLogging !== true && without?.has('dirty-log') !== true)
      throw new Fault('EOPNOTSUPP', 'what this VF writes into guest memory cannot be seen', {
        hint: 'give both QEMUs the same memory-backend-file with share=on',
      });
    if (transparent && (vf.ggttStart === undefined || vf.ggttStart !== other.ggttStart))
      throw new Fault('EREMCHG', `the VFs' GGTT ranges begin at ${hex(vf.ggttStart)} and ${hex(other.ggttStart)}`, {
        hint: 'without --transparent the guest recovers by itself',
      });
    if (this.#options.via?.startsWith('unix:') === false && !this.#options.via.startsWith('tcp:'))
      throw new Fault('EINVAL', `--via ${this.#options.via} is neither tcp:HOST:PORT nor unix:PATH`);
  }

  async #beforePhase(phase: MigrationPhase): Promise<void> {
    if (phase === 'stop') {
      await this.#enter('prepare');
      await this.#prepare();
      await this.#enter('ram');
      await this.#copyRam();
      await this.#enter('pause');
    } else if (phase === 'copy') {
      await this.#enter('rewrite');
      await this.#rewrite();
      await this.#enter('copy');
    } else if (phase === 'run') {
      await this.#enter('switch');
      await this.#target.until('completed', this.#options.signal);
      await this.#enter('replay');
      await this.#replay();
      if (this.#options.transparent === true) await askVfServer(this.#ends.to.path, 'unnoticed');
      await askVfServer(this.#ends.from.path, 'fence');
      await this.#enter('run');
    }
  }

  async #prepare(): Promise<void> {
    const { from, target } = this.#ends;
    const { maxDowntimeMs = DEFAULT_DOWNTIME_MS, without } = this.#options;
    this.#begun = true;
    await this.#target.capabilities({ events: true, 'x-ignore-shared': this.#shared });
    await this.#source.capabilities({
      events: true,
      'pause-before-switchover': true,
      'x-ignore-shared': this.#shared,
    });
    await this.#source.parameters(maxDowntimeMs);
    this.#source.forget();
    this.#target.forget();
    // Whatever the target was started with: it runs when it is told to, and not before.
    await target.execute('stop');
    if (!this.#shared && without?.has('dirty-log') !== true) from.device.dmaLoggingStart(4096, []);
  }

  async #copyRam(): Promise<void> {
    const { source, target, to } = this.#ends;
    const { via = `unix:${to.path}.ram`, signal, onEvent } = this.#options;
    await target.execute('migrate-incoming', { uri: via });
    await source.execute('migrate', { uri: via });
    const paused = this.#source.until('pre-switchover', signal);
    await Promise.all([
      paused,
      this.#source.tell(paused, (progress) => onEvent?.({ type: 'ram', progress })),
    ]);
  }

  /** The VF and the vCPUs stand still: what the VF wrote is told, what it is is read. */
  async #rewrite(): Promise<void> {
    const { from, source } = this.#ends;
    const { without } = this.#options;
    const [vf] = await vfsOf(source);
    this.#sourceVf = vf;
    const { irq } = await askVfServer(from.path, 'vf');
    this.#irq = irq;
    this.#writes = configWrites(readConfig(from.device), irq);
    if (!this.#shared && without?.has('dirty-log') !== true) {
      const { pages = 0 } = await askVfServer(from.path, 'rewrite');
      this.#dirtyPages = pages;
    }
    await source.execute('migrate-continue', { state: 'pre-switchover' });
  }

  /** Brings the target's view of its device to the source's, and sees whether it is. */
  async #replay(): Promise<void> {
    const { target, to } = this.#ends;
    if (this.#options.without?.has('config-replay') === true) return;
    const [before] = await vfsOf(target);
    if (before?.place === undefined) throw new Fault('EIO', 'the target QEMU shows no VF');
    await replayConfig(target, before.place, this.#writes);
    const differences = configDifferences(readConfig(to.device), this.#writes);
    if (differences.length > 0)
      throw new Fault('EIO', `the target did not take over ${differences.join(', ')}`);
    const { irq } = await askVfServer(to.path, 'vf');
    if (irq !== this.#irq)
      throw new Fault('EIO', 'the target QEMU did not connect the interrupts of the VF');
    const [after] = await vfsOf(target);
    const [is, must] = [JSON.stringify(after?.bars), JSON.stringify(this.#sourceVf?.bars)];
    if (is !== must) throw new Fault('EIO', `the target's BARs are ${is}, not ${must}`);
  }

  async #cont(): Promise<void> {
    const { target, to } = this.#ends;
    if (this.#options.transparent === true) await askVfServer(to.path, 'interrupt');
    const status = await vmStatus(target);
    if (status !== 'paused') throw new Fault('EIO', `the target QEMU is ${status}, not paused`);
    if (!this.#ran) return;
    this.#contSent = true;
    await target.execute('cont');
    await this.#target.event('RESUME');
  }

  async #finish(vf: MigrationResult): Promise<VmMoveResult> {
    const { source } = this.#ends;
    if (this.#options.keepSource !== true) await source.execute('quit').catch(() => {});
    const stopped = this.#source.at('STOP') ?? this.#mark('pause');
    const resumed = this.#target.at('RESUME') ?? this.#mark('done');
    const parts: { name: string; ms: number }[] = [];
    let last = stopped;
    const part = (name: string, until: number) => {
      parts.push({ name, ms: Math.max(0, until - last) });
      last = until;
    };
    part('stop vCPUs', this.#mark('pause'));
    part('pause the VF', this.#mark('rewrite'));
    part('tell dirty pages', this.#mark('copy'));
    part('move the VF', this.#mark('switch'));
    part('rest of RAM', this.#mark('replay'));
    part('replay configuration', this.#mark('run'));
    part('run the VF', this.#mark('cont'));
    part('run vCPUs', resumed);
    return {
      downtimeMs: resumed - stopped,
      parts,
      totalMs: performance.now() - this.#start,
      sharedMemory: this.#shared,
      dirtyPages: this.#dirtyPages,
      vf,
    };
  }

  #mark(step: VmMoveStep): number {
    return this.#marks.get(step) ?? Number.NaN;
  }

  /** The guest runs on at the source, unless it was told to run at the target. */
  async #rollBack(error: unknown): Promise<Fault> {
    const fault = toFault(error);
    if (!this.#begun) return fault;
    const { source, target, from, to } = this.#ends;
    const ends: { source: MigrationEndState; target: MigrationEndState } = {
      source: 'running',
      target: 'reset',
    };
    let hint = fault.hint;
    if (this.#contSent && !(await this.#certainlyStopped())) {
      ends.source = 'stopped';
      ends.target = target.gone ? 'gone' : 'running';
      hint = 'the guest was told to run at the target; the source stays stopped';
    } else {
      // First the target: it must not run, and after this it cannot.
      await target.execute('quit').catch(() => {});
      if (target.gone) ends.target = 'gone';
      try {
        await askVfServer(from.path, 'unfence');
        if ((await from.device.migrationState()) !== MIG_STATE.RUNNING)
          await from.device.setMigrationState(MIG_STATE.RUNNING);
      } catch (failure) {
        ends.source = 'unknown';
        hint = `the source VF did not come back: ${toFault(failure).message}`;
      }
      try {
        await this.#source.callOff();
        await this.#source.capabilities({ 'pause-before-switchover': false, 'x-ignore-shared': false });
        if (this.#ran && (await vmStatus(source)) !== 'running') await source.execute('cont');
      } catch (failure) {
        ends.source = source.gone ? 'gone' : 'unknown';
        hint = `the source QEMU did not come back: ${toFault(failure).message}`;
      }
    }
    const told = new MigrationFault(
      fault.code,
      `${this.#step}: ${fault.message}`,
      { phase: this.#step, role: fault instanceof MigrationFault ? fault.role : 'tool', ends },
      { cause: fault, ...(hint === undefined ? {} : { hint }) },
    );
    await reportRollback(from.path, told);
    await reportRollback(to.path, told);
    return told;
  }

  /** After `cont` failed: true when the target says that its guest does not run. */
  async #certainlyStopped(): Promise<boolean> {
    try {
      return (await vmStatus(this.#ends.target)) === 'paused';
    } catch {
      return false;
    }
  }
}

function hex(value: number | undefined): string {
  return value === undefined ? 'an unknown place' : `0x${value.toString(16)}`;
}
