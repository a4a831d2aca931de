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
import { QmpClient } from './qmp.ts';
import { askVfServer } from './tool-request.ts';
import { connectVf, reportRollback } from './vf-connection.ts';
import { checkVms, sharesMemory, type VmFacts, vmFacts } from './vm-facts.ts';
import { VmGuard } from './vm-guard.ts';
import type { RamProgress } from './vm-migration.ts';
import { type RamOptions, type VmDeviceView, VmSource } from './vm-source.ts';
import { VmTarget } from './vm-target.ts';

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
  | { readonly type: 'ram'; readonly progress: RamProgress };

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
    const ends = {
      source: new VmSource(source, facts.source, from),
      target: new VmTarget(target, facts.target, to),
    };
    return await new VmMove(options, ends).run();
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/**
 * Where a VM's VF is served.
 *
 * @param told by a person, undefined to go by what QEMU says
 * @throws {Fault} ENOENT when nobody says
 */
function vfSocket(facts: VmFacts, told: string | undefined, option: string): string {
  const path = told ?? facts.vfs[0]?.socket;
  if (path === undefined)
    throw new Fault('ENOENT', 'QEMU does not tell where its VF is served', {
      hint: `name the socket with ${option}`,
    });
  return path;
}

/** One move. */
class VmMove {
  readonly #options: VmMoveOptions;
  readonly #source: VmSource;
  readonly #target: VmTarget;
  readonly #ram: RamOptions;
  readonly #start = performance.now();
  readonly #marks = new Map<VmMoveStep, number>();
  #step: VmMoveStep = 'check';
  #guard: VmGuard | undefined;
  #view: (VmDeviceView & { readonly dirtyPages: number }) | undefined;

  constructor(options: VmMoveOptions, ends: { source: VmSource; target: VmTarget }) {
    this.#options = options;
    this.#source = ends.source;
    this.#target = ends.target;
    this.#ram = {
      shared: sharesMemory(ends.source.facts, ends.target.facts),
      dirtyLog: options.without?.has('dirty-log') !== true,
      maxDowntimeMs: options.maxDowntimeMs ?? DEFAULT_DOWNTIME_MS,
    };
  }

  async run(): Promise<VmMoveResult> {
    try {
      await this.#enter('check');
      await this.#check();
      this.#guard = await VmGuard.start({
        from: this.#options.from,
        to: this.#options.to,
        fromVf: this.#source.vf.path,
        ran: this.#source.ran,
      });
      const vf = await migrate(this.#source.vf, this.#target.vf, {
        signal: this.#options.signal,
        beforePhase: (phase) => this.#beforePhase(phase),
      });
      await this.#enter('cont');
      if (this.#options.transparent === true) await this.#target.interrupt();
      await this.#guard.tell('cont');
      if (this.#source.ran) await this.#target.cont();
      await this.#enter('done');
      if (this.#options.keepSource !== true) await this.#source.quit();
      return this.#result(vf);
    } catch (error) {
      throw await this.#rollBack(error);
    } finally {
      await this.#guard?.end();
    }
  }

  async #enter(step: VmMoveStep): Promise<void> {
    this.#step = step;
    this.#marks.set(step, performance.now());
    this.#options.onEvent?.({ type: 'step', step, atMs: performance.now() - this.#start });
    await this.#options.beforeStep?.(step);
  }

  /** Whatever can be known to fail fails here, where the guest does not notice. */
  async #check(): Promise<void> {
    const { transparent = false, via } = this.#options;
    if (via !== undefined && !/^(tcp|unix):./.test(via))
      throw new Fault('EINVAL', `--via ${via} is neither tcp:HOST:PORT nor unix:PATH`);
    const from = await this.#source.check(this.#ram);
    const to = await askVfServer(this.#target.vf.path, 'vf');
    if (!transparent) return;
    if (from.ggttStart === undefined || from.ggttStart !== to.ggttStart)
      throw new Fault(
        'EREMCHG',
        `the GGTT ranges of the VFs begin at ${hex(from.ggttStart)} and ${hex(to.ggttStart)}`,
        { hint: 'without --transparent the guest recovers by itself' },
      );
  }

  async #beforePhase(phase: MigrationPhase): Promise<void> {
    if (phase === 'stop') {
      await this.#enter('prepare');
      await this.#guard?.tell('begun');
      await this.#target.prepare(this.#ram.shared);
      await this.#source.prepare(this.#ram);
      await this.#enter('ram');
      await this.#copyRam();
      await this.#enter('pause');
    } else if (phase === 'copy') {
      await this.#enter('rewrite');
      this.#view = await this.#source.takeView(this.#ram);
      await this.#source.goOn();
      await this.#enter('copy');
    } else if (phase === 'run') {
      await this.#enter('switch');
      await this.#target.migration.until('completed', this.#options.signal);
      await this.#enter('replay');
      const { transparent, without } = this.#options;
      if (this.#view !== undefined && without?.has('config-replay') !== true)
        await this.#target.replay(this.#view);
      if (transparent === true) await this.#target.unnoticed();
      await this.#source.fence();
      await this.#enter('run');
    }
  }

  async #copyRam(): Promise<void> {
    const { via = `unix:${this.#target.vf.path}.ram`, signal, onEvent } = this.#options;
    await this.#target.incoming(via);
    await this.#source.qmp.execute('migrate', { uri: via });
    const { migration } = this.#source;
    const paused = migration.until('pre-switchover', signal);
    await Promise.all([
      paused,
      migration.tell(paused, (progress) => onEvent?.({ type: 'ram', progress })),
    ]);
  }

  #result(vf: MigrationResult): VmMoveResult {
    const at = (step: VmMoveStep) => this.#marks.get(step) ?? Number.NaN;
    const stopped = this.#source.migration.at('STOP') ?? at('pause');
    const resumed = this.#target.migration.at('RESUME') ?? at('done');
    const ends: readonly (readonly [string, number])[] = [
      ['stop vCPUs', at('pause')],
      ['pause the VF', at('rewrite')],
      ['tell dirty pages', at('copy')],
      ['move the VF', at('switch')],
      ['rest of RAM', at('replay')],
      ['replay configuration', at('run')],
      ['run the VF', at('cont')],
      ['run vCPUs', resumed],
    ];
    const parts = ends.map(([name, end], n) => ({
      name,
      ms: Math.max(0, end - (ends[n - 1]?.[1] ?? stopped)),
    }));
    return {
      downtimeMs: resumed - stopped,
      parts,
      totalMs: performance.now() - this.#start,
      sharedMemory: this.#ram.shared,
      dirtyPages: this.#view?.dirtyPages ?? 0,
      vf,
    };
  }

  /** The guest runs on at the source, unless it may run at the target. */
  async #rollBack(error: unknown): Promise<Fault> {
    const fault = toFault(error);
    if (this.#guard === undefined) return fault;
    const ends: { source: MigrationEndState; target: MigrationEndState } = {
      source: 'running',
      target: 'reset',
    };
    let { hint } = fault;
    if (!(await this.#target.isStopped())) {
      ends.source = 'stopped';
      ends.target = this.#target.qmp.gone ? 'gone' : 'running';
      hint = 'the guest was told to run at the target; the source stays stopped';
    } else {
      // First the target: from here on the guest cannot run there.
      await this.#target.quit();
      await this.#source.resume().catch((failure: unknown) => {
        ends.source = this.#source.qmp.gone ? 'gone' : 'unknown';
        hint = `the source did not come back: ${toFault(failure).message}`;
      });
    }
    const role = fault instanceof MigrationFault ? fault.role : 'tool';
    const place = { phase: this.#step, role, ends };
    const more = hint === undefined ? {} : { hint };
    const told = new MigrationFault(fault.code, `${this.#step}: ${fault.message}`, place, {
      ...more,
      cause: fault,
    });
    await reportRollback(this.#source.vf.path, told);
    await reportRollback(this.#target.vf.path, told);
    return told;
  }
}

function hex(value: number | undefined): string {
  return value === undefined ? 'an unknown place' : `0x${value.toString(16)}`;
}
