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
import { toldFault, VmClosers } from './vm-ends.ts';
import { checkGgtt, checkVms, sharesMemory } from './vm-facts.ts';
import { VmGuard } from './vm-guard.ts';
import { type RamOptions, type VmDeviceView, VmSource } from './vm-source.ts';
import { type DowntimePart, StepLog, type VmStepOptions } from './vm-steps.ts';
import { VmTarget } from './vm-target.ts';

/** The steps of a move, in their order. */
export type VmMoveStep =
  | 'check'
  | 'prepare'
  | 'ram'
  | 'pause'
  | 'rewrite'
  | 'copy'
  | 'switch'
  | 'replay'
  | 'run'
  | 'cont'
  | 'done';

/** Parts of a move that can be left out, for tests that show what they are there for. */
export type VmMovePart = 'dirty-log' | 'config-replay' | 'ggtt-check';

/** What to move where. */
export interface VmMoveOptions extends VmStepOptions<VmMoveStep> {
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
  readonly without?: ReadonlySet<VmMovePart> | undefined;
}

/** What a move was. */
export interface VmMoveResult {
  /** From QEMU's STOP at the source to its RESUME at the target. */
  readonly downtimeMs: number;
  /** The parts of the downtime, in their order. */
  readonly parts: readonly DowntimePart[];
  /** What QEMU took, beside them, from `migrate-continue` until the target had everything. */
  readonly qemuMs: number;
  readonly totalMs: number;
  readonly sharedMemory: boolean;
  /** Pages that the VF wrote while RAM was copied. */
  readonly dirtyPages: number;
  readonly vf: MigrationResult;
}

/** The time from which vCPUs wait for RAM unless told otherwise. */
export const DEFAULT_DOWNTIME_MS = 300;

/**
 * Moves a VM.
 *
 * @throws {Fault} what does not fit, before anything was stopped; {@link MigrationFault} with the step
 * that failed, after the guest runs at the source again (its `ends` tell)
 */
export async function moveVm(options: VmMoveOptions): Promise<VmMoveResult> {
  const closers = new VmClosers();
  try {
    const source = await closers.openQemu(options.from);
    const target = await closers.openQemu(options.to);
    checkVms(source.facts, target.facts);
    const from = await closers.openVf(source.facts, options.fromVf, '--from-vf');
    const to = await closers.openVf(target.facts, options.toVf, '--to-vf');
    const ends = {
      source: new VmSource(source.qmp, source.facts, from),
      target: new VmTarget(target.qmp, target.facts, to),
    };
    return await new VmMove(options, ends).run();
  } finally {
    await closers.close();
  }
}

/** One move. */
class VmMove {
  readonly #options: VmMoveOptions;
  readonly #source: VmSource;
  readonly #target: VmTarget;
  readonly #ram: RamOptions;
  readonly #log: StepLog<VmMoveStep>;
  #guard: VmGuard | undefined;
  /** What runs beside the steps while the guest waits. */
  #viewing: Promise<VmDeviceView> | undefined;
  #goingOn: Promise<void> | undefined;
  #continuedAt = Number.NaN;
  #dirtyPages = 0;

  constructor(options: VmMoveOptions, ends: { source: VmSource; target: VmTarget }) {
    this.#options = options;
    this.#source = ends.source;
    this.#target = ends.target;
    this.#log = new StepLog<VmMoveStep>(options, 'check');
    this.#ram = {
      shared: sharesMemory(ends.source.facts, ends.target.facts),
      dirtyLog: !this.#isWithout('dirty-log'),
      maxDowntimeMs: options.maxDowntimeMs ?? DEFAULT_DOWNTIME_MS,
    };
  }

  async run(): Promise<VmMoveResult> {
    try {
      await this.#log.enter('check');
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
      await this.#log.enter('cont');
      this.#target.checkVf();
      // A target that is gone by now has not run.
      await Promise.all([this.#target.checkPaused(), this.#guard.tell('cont')]);
      if (this.#source.ran) await this.#target.cont();
      if (this.#options.transparent === true) await this.#target.interrupt();
      await this.#log.enter('done');
      if (this.#options.keepSource !== true) await this.#source.quit();
      return this.#result(vf);
    } catch (error) {
      throw await this.#rollBack(error);
    } finally {
      this.#source.close();
      this.#target.close();
      await this.#guard?.end();
    }
  }

  #isWithout(part: VmMovePart): boolean {
    return this.#options.without?.has(part) === true;
  }

  /** Whatever can be known to fail fails here, where the guest does not notice. */
  async #check(): Promise<void> {
    const { transparent = false, via } = this.#options;
    if (via !== undefined && !/^(tcp|unix):./.test(via))
      throw new Fault('EINVAL', `--via ${via} is neither tcp:HOST:PORT nor unix:PATH`);
    const from = await this.#source.check(this.#ram);
    const to = await this.#target.vfAnswer();
    if (transparent && !this.#isWithout('ggtt-check')) checkGgtt(from.ggttStart, to.ggttStart);
  }

  async #beforePhase(phase: MigrationPhase): Promise<void> {
    if (phase === 'stop') {
      await this.#prepare();
      await this.#log.enter('ram');
      await this.#copyRam();
      await this.#log.enter('pause');
      // The guest waits: what does not have to come one after the other does not.
      this.#viewing = this.#source.view();
      this.#viewing.catch(() => {});
      if (this.#ram.shared) this.#goOn();
    } else if (phase === 'copy') {
      await this.#log.enter('rewrite');
      this.#dirtyPages = await this.#source.tellDirty(this.#ram);
      await this.#viewing;
      // The guest ran until now.
      if (this.#options.transparent !== true) this.#source.checkReady();
      if (!this.#ram.shared) this.#goOn();
      await this.#log.enter('copy');
    } else if (phase === 'run') {
      await this.#log.enter('switch');
      const view = (await this.#viewing) as VmDeviceView;
      await this.#goingOn;
      await this.#target.migration.until('completed', this.#options.signal);
      await this.#log.enter('replay');
      if (!this.#isWithout('config-replay')) await this.#target.replay(view);
      await Promise.all([
        this.#options.transparent === true ? this.#target.unnoticed(view) : undefined,
        this.#source.fence(),
      ]);
      await this.#log.enter('run');
    }
  }

  async #prepare(): Promise<void> {
    await this.#log.enter('prepare');
    await this.#guard?.tell('begun');
    await this.#target.prepare({ 'x-ignore-shared': this.#ram.shared });
    await this.#source.prepare(this.#ram);
    // What the guest changes until it stops is seen then.
    const view = await this.#source.view();
    if (this.#options.transparent !== true) this.#source.checkReady();
    if (this.#isWithout('config-replay')) return;
    if (await this.#target.reachEarly(this.#source)) await this.#target.replay(view);
  }

  async #copyRam(): Promise<void> {
    const { via = `unix:${this.#target.vf.path}.ram` } = this.#options;
    await this.#target.incoming(via);
    await this.#source.copyRam(via, this.#options);
  }

  /** Lets QEMU send the rest while the VF goes. */
  #goOn(): void {
    this.#continuedAt = performance.now();
    this.#goingOn = this.#source.goOn();
    this.#goingOn.catch(() => {});
  }

  #result(vf: MigrationResult): VmMoveResult {
    const at = (step: VmMoveStep) => this.#log.at(step);
    const stopped = this.#source.migration.at('STOP') ?? at('pause');
    const resumed = this.#target.migration.at('RESUME') ?? at('done');
    const parts = this.#log.parts(stopped, [
      ['stop vCPUs', at('pause')],
      ['pause the VF', at('rewrite')],
      ['tell dirty pages', at('copy')],
      ['move the VF', at('switch')],
      ['wait for QEMU', at('replay')],
      ['configuration, fence', at('run')],
      ['run the VF', at('cont')],
      ['run vCPUs', resumed],
    ]);
    return {
      downtimeMs: resumed - stopped,
      parts,
      qemuMs: (this.#target.migration.completedAt ?? Number.NaN) - this.#continuedAt,
      totalMs: this.#log.totalMs,
      sharedMemory: this.#ram.shared,
      dirtyPages: this.#dirtyPages,
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
      await this.#goingOn?.catch(() => {});
      await this.#source.resume().catch((failure: unknown) => {
        ends.source = this.#source.qmp.gone ? 'gone' : 'unknown';
        hint = `the source did not come back: ${toFault(failure).message}`;
      });
    }
    const place = { phase: this.#log.step, ends };
    return await toldFault(fault, place, hint, [this.#source.vf.path, this.#target.vf.path]);
  }
}
