/**
 * The use case save-vm: a running VM with a VF of ours goes into a directory, from which `vm-restore.ts`
 * brings it back. QEMU saves RAM, CPUs and all other devices while the guest runs, as far as that can
 * be; the rest is what `vm-move.ts` does at the source.
 */
import { Fault, type MigrationEndState, MigrationFault, toFault } from '../base/fault.ts';
import { type CheckpointSummary, CheckpointWriter } from '../migration/checkpoint-writer.ts';
import type { MigrationPhase } from '../migration/migration-phase.ts';
import { type StateSink, save } from '../migration/session-save.ts';
import { toldFault, VmClosers } from './vm-ends.ts';
import { openUnsynced, VmFileWriter } from './vm-file.ts';
import { VmGuard } from './vm-guard.ts';
import type { VmManifest } from './vm-manifest.ts';
import { DEFAULT_DOWNTIME_MS } from './vm-move.ts';
import { type VmDeviceView, VmSource } from './vm-source.ts';
import { type DowntimePart, StepLog, type VmStepOptions } from './vm-steps.ts';

/** The steps of a save, in their order; `cont` when the guest goes on. */
export type VmSaveStep =
  | 'check'
  | 'prepare'
  | 'ram'
  | 'pause'
  | 'rewrite'
  | 'copy'
  | 'switch'
  | 'cont'
  | 'keep'
  | 'done';

/** What to save where. */
export interface VmSaveOptions extends VmStepOptions<VmSaveStep> {
  /** QMP socket: a path, or `tcp:HOST:PORT`. */
  readonly from: string;
  /** Socket of the VF when it is not where QEMU says. */
  readonly fromVf?: string | undefined;
  /** The directory to make; QEMU and this process have to see the same one. */
  readonly file: string;
  /** Lets the guest go on afterwards: a snapshot. */
  readonly resume?: boolean | undefined;
  /** Milliseconds that QEMU may use for the rest of RAM, 300 unless given. */
  readonly maxDowntimeMs?: number | undefined;
  /** Leaves the stopped QEMU of a guest that does not go on. */
  readonly keepSource?: boolean | undefined;
}

/** What was saved. */
export interface VmSaveResult {
  readonly path: string;
  readonly manifest: VmManifest;
  /** From QEMU's STOP until the guest went on, or all of its state was out. */
  readonly downtimeMs: number;
  readonly parts: readonly DowntimePart[];
  readonly totalMs: number;
  readonly dirtyPages: number;
  /** Bytes of the VF's stream. */
  readonly streamBytes: number;
}

/**
 * Saves a VM.
 *
 * @throws {Fault} what does not fit, before anything was stopped; {@link MigrationFault} with the step
 * that failed, after the guest runs again: nothing is left on disk
 */
export async function saveVm(options: VmSaveOptions): Promise<VmSaveResult> {
  const closers = new VmClosers();
  try {
    const { qmp, facts } = await closers.openQemu(options.from);
    if (facts.vfs.length !== 1)
      throw new Fault(
        facts.vfs.length === 0 ? 'ENODEV' : 'EOPNOTSUPP',
        `the VM has ${facts.vfs.length} VFs; exactly one can be saved`,
      );
    const vf = await closers.openVf(facts, options.fromVf, '--from-vf');
    return await new VmSave(options, new VmSource(qmp, facts, vf)).run();
  } finally {
    await closers.close();
  }
}

/** One save. */
class VmSave {
  readonly #options: VmSaveOptions;
  readonly #source: VmSource;
  readonly #log: StepLog<VmSaveStep>;
  readonly #ram;
  #guard: VmGuard | undefined;
  #file: VmFileWriter | undefined;
  #mappedRam = false;
  #viewing: Promise<VmDeviceView> | undefined;
  #dirtyPages = 0;

  constructor(options: VmSaveOptions, source: VmSource) {
    this.#options = options;
    this.#source = source;
    this.#log = new StepLog<VmSaveStep>(options, 'check');
    const maxDowntimeMs = options.maxDowntimeMs ?? DEFAULT_DOWNTIME_MS;
    this.#ram = { shared: false, dirtyLog: true, maxDowntimeMs };
  }

  async run(): Promise<VmSaveResult> {
    const { from, file: path, signal, resume = false, keepSource = false } = this.#options;
    const source = this.#source;
    try {
      await this.#log.enter('check');
      const { ggttStart } = await source.check(this.#ram);
      if (resume) await source.checkDisks();
      this.#mappedRam = await source.migration.knows('mapped-ram');
      this.#file = await VmFileWriter.create(path);
      this.#guard = await VmGuard.start({
        from,
        fromVf: source.vf.path,
        ran: source.ran,
        remove: this.#file.temporaryPath,
      });
      const { streamBytes } = await save(source.vf, () => this.#sink(), {
        signal,
        resume: resume && source.ran,
        beforePhase: (phase) => this.#beforePhase(phase),
      });
      const savedAt = performance.now();
      if (resume && source.ran) {
        await this.#log.enter('cont');
        await source.cont();
      }
      await this.#log.enter('keep');
      const { facts, migration } = source;
      const device = (await this.#viewing) as VmDeviceView;
      const manifest = await this.#file.finish(
        {
          createdAt: new Date().toISOString(),
          qemu: facts.version,
          vm: facts,
          device,
          ggttStart,
          mappedRam: this.#mappedRam,
        },
        { signal },
      );
      if (resume) await source.restoreCapabilities();
      else await this.#endSource(keepSource);
      await this.#log.enter('done');
      const stopped = migration.at('STOP') ?? this.#log.at('pause');
      const end = resume ? (migration.at('RESUME') ?? savedAt) : savedAt;
      const parts = this.#log.parts(stopped, [
        ['stop vCPUs', this.#log.at('pause')],
        ['pause the VF', this.#log.at('rewrite')],
        ['tell dirty pages', this.#log.at('copy')],
        ['save the VF', this.#log.at('switch')],
        ['wait for QEMU', savedAt],
        ['run vCPUs', resume ? end : Number.NaN],
      ]);
      const { totalMs } = this.#log;
      const dirtyPages = this.#dirtyPages;
      const { path: kept } = this.#file;
      const downtimeMs = end - stopped;
      return { path: kept, manifest, downtimeMs, parts, totalMs, dirtyPages, streamBytes };
    } catch (error) {
      throw await this.#rollBack(error);
    } finally {
      source.close();
      await this.#guard?.end();
    }
  }

  /** The saved state is all there is: the guest runs nowhere else. */
  async #endSource(keep: boolean): Promise<void> {
    await this.#guard?.tell(keep ? 'over' : 'cont');
    await this.#source.fence();
    if (!keep) await this.#source.quit();
  }

  async #beforePhase(phase: MigrationPhase): Promise<void> {
    const source = this.#source;
    if (phase === 'stop') {
      await this.#log.enter('prepare');
      await this.#guard?.tell('begun');
      await source.prepare(this.#ram, { 'mapped-ram': this.#mappedRam });
      await this.#log.enter('ram');
      await source.copyRam(`file:${this.#file?.ramPath}`, this.#options);
      await this.#log.enter('pause');
      this.#viewing = source.view();
      this.#viewing.catch(() => {});
    } else if (phase === 'copy') {
      await this.#log.enter('rewrite');
      this.#dirtyPages = await source.tellDirty(this.#ram);
      await this.#viewing;
      source.checkReady();
      await source.goOn();
      await this.#log.enter('copy');
    }
  }

  /** The VF's checkpoint; it is finished when QEMU is, too. */
  async #sink(): Promise<StateSink<CheckpointSummary>> {
    const { profile = {} } = this.#source.vf;
    const file = this.#file as VmFileWriter;
    const header = { profile, createdAt: Date.now() };
    const writer = await CheckpointWriter.create(file.vfPath, header, { open: openUnsynced });
    return {
      write: (bytes) => writer.write(bytes),
      abort: () => writer.abort(),
      finish: async () => {
        await this.#log.enter('switch');
        const [summary] = await Promise.all([
          writer.finish(),
          this.#source.migration.until('completed', this.#options.signal),
        ]);
        return summary;
      },
    };
  }

  /** The guest runs on, and nothing is left on disk. */
  async #rollBack(error: unknown): Promise<Fault> {
    const fault = toFault(error);
    await this.#file?.abort();
    if (this.#guard === undefined) return fault;
    let left: MigrationEndState = 'running';
    let { hint } = fault;
    await this.#source.resume().catch((failure: unknown) => {
      left = this.#source.qmp.gone ? 'gone' : 'unknown';
      hint = `the source did not come back: ${toFault(failure).message}`;
    });
    const ends = { source: left, target: 'untouched' } as const;
    const place = { phase: this.#log.step, ends };
    return await toldFault(fault, place, hint, [this.#source.vf.path]);
  }
}
