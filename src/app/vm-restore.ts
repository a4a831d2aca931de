/**
 * The use case restore-vm: a VM that `vm-save.ts` has saved goes into a stock QEMU that waits for it.
 */
import { type Fault, type MigrationEndState, MigrationFault, toFault } from '../base/fault.ts';
import type { MigrationPhase } from '../migration/migration-phase.ts';
import { restore } from '../migration/session-restore.ts';
import { openState } from './file-state.ts';
import { toldFault, VmClosers } from './vm-ends.ts';
import { checkGgtt, checkVms } from './vm-facts.ts';
import { openVmFile, type ReadProgress, type VmFile } from './vm-file.ts';
import { VmGuard } from './vm-guard.ts';
import type { VmManifest } from './vm-manifest.ts';
import { StepLog, type VmStepOptions } from './vm-steps.ts';
import { VmTarget } from './vm-target.ts';

/** The steps of a restore, in their order. */
export type VmRestoreStep =
  | 'read'
  | 'check'
  | 'prepare'
  | 'copy'
  | 'ram'
  | 'replay'
  | 'run'
  | 'cont'
  | 'done';

/** What to restore where. */
export interface VmRestoreOptions extends VmStepOptions<VmRestoreStep> {
  /** QMP socket: a path, or `tcp:HOST:PORT`. */
  readonly to: string;
  /** Socket of the VF when it is not where QEMU says. */
  readonly toVf?: string | undefined;
  /** What save-vm has made; QEMU and this process have to see the same directory. */
  readonly file: string;
  /** The guest is told nothing: only into an equal GGTT range. */
  readonly transparent?: boolean | undefined;
  /** Leaves the guest stopped instead of letting it run. */
  readonly paused?: boolean | undefined;
  /** Hears how much of the saved RAM was read and compared with its digest. */
  readonly onRead?: ReadProgress | undefined;
}

/** What was restored. */
export interface VmRestoreResult {
  readonly manifest: VmManifest;
  readonly totalMs: number;
  /** Bytes of the VF's stream. */
  readonly streamBytes: number;
}

/**
 * Restores a VM.
 *
 * @throws {Fault} what is damaged or does not fit: the target waits as before; {@link MigrationFault}
 * with the step that failed: the target QEMU has ended when it had begun to take the state in
 */
export async function restoreVm(options: VmRestoreOptions): Promise<VmRestoreResult> {
  const closers = new VmClosers();
  const log = new StepLog<VmRestoreStep>(options, 'read');
  try {
    await log.enter('read');
    const { signal, onRead: onProgress } = options;
    const file = await openVmFile(options.file, { signal, onProgress });
    await log.enter('check');
    const { qmp, facts } = await closers.openQemu(options.to);
    checkVms(file.manifest.vm, facts);
    const vf = await closers.openVf(facts, options.toVf, '--to-vf');
    return await new VmRestore(options, file, new VmTarget(qmp, facts, vf), log).run();
  } finally {
    await closers.close();
  }
}

/** One restore. */
class VmRestore {
  readonly #options: VmRestoreOptions;
  readonly #file: VmFile;
  readonly #target: VmTarget;
  readonly #log: StepLog<VmRestoreStep>;
  #guard: VmGuard | undefined;
  /** QEMU takes the state in: there is no way back for it. */
  #taken = false;

  constructor(
    options: VmRestoreOptions,
    file: VmFile,
    target: VmTarget,
    log: StepLog<VmRestoreStep>,
  ) {
    this.#options = options;
    this.#file = file;
    this.#target = target;
    this.#log = log;
  }

  async run(): Promise<VmRestoreResult> {
    const { manifest, vfPath } = this.#file;
    const target = this.#target;
    const { transparent = false, paused = false, signal, to } = this.#options;
    const state = await openState(vfPath, false);
    try {
      const { ggttStart } = await target.vfAnswer();
      if (transparent) checkGgtt(manifest.ggttStart, ggttStart);
      this.#guard = await VmGuard.start({ to, ran: true });
      const { streamBytes } = await restore(state, target.vf, {
        signal,
        beforePhase: (phase) => this.#beforePhase(phase),
      });
      await this.#log.enter('cont');
      await this.#guard.tell('cont');
      if (!paused) await target.cont();
      if (transparent) await target.interrupt();
      await this.#log.enter('done');
      return { manifest, totalMs: this.#log.totalMs, streamBytes };
    } catch (error) {
      throw await this.#rollBack(error);
    } finally {
      target.close();
      await state.close();
      await this.#guard?.end();
    }
  }

  async #beforePhase(phase: MigrationPhase): Promise<void> {
    const target = this.#target;
    const { device, mappedRam } = this.#file.manifest;
    if (phase === 'copy') {
      await this.#log.enter('prepare');
      await target.prepare({ 'x-ignore-shared': false, 'mapped-ram': mappedRam });
      await this.#log.enter('copy');
    } else if (phase === 'run') {
      // The state of the VF is in and was found good: only now QEMU does what it cannot undo.
      await this.#log.enter('ram');
      this.#taken = true;
      await this.#guard?.tell('begun');
      await target.incoming(`file:${this.#file.ramPath}`);
      await target.migration.until('completed', this.#options.signal);
      await this.#log.enter('replay');
      await target.replay(device);
      await target.checkPaused();
      if (this.#options.transparent === true) await target.unnoticed(device);
      await this.#log.enter('run');
    }
  }

  async #rollBack(error: unknown): Promise<Fault> {
    const fault = toFault(error);
    if (this.#guard === undefined) return fault;
    let left: MigrationEndState = 'reset';
    let { hint } = fault;
    if (!(await this.#target.isStopped())) {
      left = this.#target.qmp.gone ? 'gone' : 'running';
      hint = 'the guest was told to run';
    } else if (this.#taken) {
      await this.#target.quit();
      left = 'gone';
      hint ??= 'the saved VM is untouched: start QEMU again and try once more';
    }
    const ends = { source: 'untouched', target: left } as const;
    const place = { phase: this.#log.step, ends };
    return await toldFault(fault, place, hint, [this.#target.vf.path]);
  }
}
