/**
 * The debugfs directory of an xe PF over an emulated one, with the manners of Linux 7.3.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_debugfs.c, xe_tile_sriov_pf_debugfs.c,
 * xe_gt_sriov_pf_debugfs.c; fs/debugfs/file.c (debugfs_locked_down).
 */
import { Fault, toFault } from '../../../src/base/fault.ts';
import { operate } from '../../../src/pf/control-commands.ts';
import type { PfDevicePort } from '../../../src/pf/ports.ts';
import type { XePf } from '../../../src/pf/xe-pf.ts';
import { PACKET_HEADER_SIZE, VRAM_CHUNK_MAX_SIZE } from '../../../src/xe/migration-packet.ts';
import { FakeMigration } from './fake-migration.ts';
import { constant, type DirNode, dir, type FileNode, type TreeNode, textFile } from './tree.ts';

/** What a PF is like; what is left out is well. */
export interface FakeXeOptions {
  /** Migration is disabled in the driver, as with old firmware. */
  readonly unsupported?: boolean;
  /** Version that guc_info shows; the emulated GuC's own unless given. */
  readonly gucVersion?: string;
  /** Kernel lockdown: files that can be written, or that are not for everybody, do not open. */
  readonly lockdown?: boolean;
  /** How long reading `restore` waits for a trailer that does not come; 20 s in the kernel. */
  readonly restoreTimeoutMs?: number;
}

const TRUE = ['1', 'y', 'Y', 'on'];
const FALSE = ['0', 'n', 'N', 'off'];

/** The debugfs directory of one PF. */
export class FakeXeDebugfs {
  /** What would have crashed the kernel. */
  readonly hazards: string[] = [];
  /** What was done, such as `vf1/pause`. */
  readonly calls: string[] = [];
  /** Answers that a file gives instead of doing anything, once each: `vf1/pause` → EIO. */
  readonly faults = new Map<string, Fault>();
  readonly root: DirNode;
  readonly options: FakeXeOptions;
  readonly #pf: XePf;
  readonly #device: PfDevicePort;
  readonly #migrations = new Map<number, FakeMigration>();

  constructor(pf: XePf, device: PfDevicePort, options: FakeXeOptions = {}) {
    this.#pf = pf;
    this.#device = device;
    this.options = options;
    pf.events.on((event) => {
      if (event.type === 'control' && event.outcome.startsWith('flr'))
        this.migration(event.vfid).wasReset();
    });
    const vfs = Array.from({ length: device.totalVfs }, (_, n) => n + 1);
    this.root = dir({
      name: constant('xe dev=0000:03:00.0'),
      sriov: dir({
        restore_auto_provisioning: this.#file(0o200, undefined, (text) => {
          if (this.#bool(text)) pf.provisioning.restoreAuto(pf.numVfs, device.totalVfs);
        }),
        pf: dir({
          vfs: textFile(0o444, () => {
            const { totalVfs } = device;
            return `total: ${totalVfs}\nsupported: ${totalVfs}\nenabled: ${pf.numVfs}\n`;
          }),
          versions: constant('base:\t1.0\nlatest:\t1.0'),
        }),
        ...Object.fromEntries(vfs.map((vfid) => [`vf${vfid}`, this.#vf(vfid)])),
      }),
      ...Object.fromEntries(
        device.tiles
          .flatMap(({ gts }) => gts)
          .map(({ id, guc }) => [
            `gt${id}`,
            dir({
              uc: dir({
                guc_info: textFile(0o444, () => {
                  const { major, minor, patch } = guc.version;
                  const version = options.gucVersion ?? `${major}.${minor}.${patch}`;
                  return `GuC firmware: xe/guc.bin\n\tstatus: RUNNING\n\twanted release version 70.58.0\n\tfound release version ${version}\n\tfound compatibility version 1.27.0\n`;
                }),
              }),
            }),
          ]),
      ),
    });
  }

  /** The migration of a VF. */
  migration(vfid: number): FakeMigration {
    let found = this.#migrations.get(vfid);
    if (found === undefined) {
      found = new FakeMigration(this.#pf, vfid, (what) => this.hazards.push(what));
      this.#migrations.set(vfid, found);
    }
    return found;
  }

  #vf(vfid: number): TreeNode {
    const pf = this.#pf;
    const { tiles } = this.#device;
    const call = (name: string, run: () => void | Promise<void>) => async () => {
      this.calls.push(`vf${vfid}/${name}`);
      const fault = this.faults.get(`vf${vfid}/${name}`);
      this.faults.delete(`vf${vfid}/${name}`);
      if (fault !== undefined) throw fault;
      await run();
    };
    const control = (name: 'pause' | 'resume' | 'stop') =>
      this.#action(
        0o200,
        call(name, () => pf.control.operate(vfid, name)),
      );
    return dir({
      pause: control('pause'),
      resume: control('resume'),
      stop: control('stop'),
      reset: this.#action(
        0o200,
        call('reset', () => pf.control.resetVf(vfid)),
      ),
      save: this.#action(
        0o600,
        call('save', () => {
          if (this.options.unsupported === true) this.hazards.push('save on an unsupported PF');
          this.migration(vfid).triggerSave();
        }),
        call('save-end', () => this.migration(vfid).finishSave()),
      ),
      restore: this.#action(
        0o600,
        call('restore', () => {
          if (this.options.unsupported === true) this.hazards.push('restore on an unsupported PF');
          this.migration(vfid).triggerRestore();
        }),
        call('restore-end', () =>
          this.migration(vfid).finishRestore(this.options.restoreTimeoutMs ?? 20_000),
        ),
      ),
      migration_data: this.#data(vfid),
      migration_size: this.#file(0o400, () => `${this.#size(vfid)}\n`),
      ...Object.fromEntries(
        tiles.map((tile) => [
          `tile${tile.id}`,
          dir({
            ggtt_quota: this.#quota(vfid, ({ ggttSize }) => ggttSize),
            ...(tile.vram === undefined
              ? {}
              : { vram_quota: this.#quota(vfid, ({ vramSize }) => vramSize) }),
            ...Object.fromEntries(
              tile.gts.map((gt) => [
                `gt${gt.id}`,
                dir({
                  contexts_quota: this.#quota(vfid, ({ contexts }) => contexts),
                  doorbells_quota: this.#quota(vfid, ({ doorbells }) => doorbells),
                  control: this.#file(
                    0o600,
                    () => 'stop\npause\nresume\n',
                    async (text) => {
                      const vf = pf.control.vf(vfid).find(({ around }) => around.gt.id === gt.id);
                      if (vf === undefined) throw new TypeError('no such GT');
                      if (text === 'stop' || text === 'pause' || text === 'resume')
                        await call(`gt${gt.id}-${text}`, () => operate(vf, text))();
                    },
                  ),
                }),
              ]),
            ),
          }),
        ]),
      ),
    });
  }

  #quota(
    vfid: number,
    pick: (config: {
      ggttSize: number;
      vramSize: number;
      contexts: number;
      doorbells: number;
    }) => number,
  ): FileNode {
    return this.#file(0o644, () => `${pick(this.#pf.provisioning.config(vfid))}\n`);
  }

  /** What the kernel counts: no descriptor, no trailer, one header for all VRAM of a tile. */
  #size(vfid: number): number {
    if (this.options.unsupported === true) throw new Fault('ENOPKG', 'migration is disabled');
    const { vramSize } = this.#pf.provisioning.config(vfid);
    const chunks = Math.ceil(vramSize / VRAM_CHUNK_MAX_SIZE);
    const uncounted = 64 + Math.max(chunks - 1, 0) * PACKET_HEADER_SIZE;
    return this.#pf.migration.size(vfid) - uncounted;
  }

  #bool(text: string): boolean {
    if (TRUE.includes(text)) return true;
    if (FALSE.includes(text)) return false;
    throw new Fault('EINVAL', `"${text}" is no truth value`);
  }

  /** A file that calls `run` when true is written at position 0, and `finish` when it is read. */
  #action(mode: number, run: () => Promise<void>, finish?: () => Promise<void>): FileNode {
    return this.#locked(mode, () => {
      let written = 0;
      let finished = false;
      return {
        read: async () => {
          if (finish !== undefined && !finished) await finish();
          finished = true;
          return new Uint8Array(0);
        },
        write: async (offset, bytes) => {
          // The kernel keeps the position at 0; here it moves with what was written.
          if (offset !== 0 && offset !== written) throw new Fault('EINVAL', 'a position');
          if (this.#bool(new TextDecoder().decode(bytes).trim())) await run();
          written = offset + bytes.length;
          return bytes.length;
        },
      };
    });
  }

  #data(vfid: number): FileNode {
    return this.#locked(0o600, () => {
      let position = 0;
      let failed: Fault | undefined;
      const check = (offset: number) => {
        if (offset !== 0 && offset !== position) throw new Fault('ESPIPE', 'a position');
      };
      return {
        read: async (offset, size, signal) => {
          check(offset);
          const bytes = await this.migration(vfid).read(size, signal);
          position = offset + bytes.length;
          return bytes;
        },
        write: async (offset, bytes) => {
          check(offset);
          // FUSE cuts a write into pieces of 1 MiB, and hides the error of a later piece behind the
          // count of those before it; the kernel's own file answers the error for all of it.
          if (failed !== undefined) throw failed;
          try {
            const count = await this.migration(vfid).write(bytes);
            position = offset + count;
            return count;
          } catch (error) {
            position = offset;
            failed = toFault(error);
            throw failed;
          }
        },
      };
    });
  }

  #file(
    mode: number,
    read: (() => string) | undefined,
    write?: (text: string) => void | Promise<void>,
  ): FileNode {
    const file = textFile(mode, read, write);
    return this.#locked(mode, (forWriting) => file.open(forWriting));
  }

  #locked(mode: number, open: FileNode['open']): FileNode {
    return {
      kind: 'file',
      mode,
      open: (forWriting) => {
        if (this.options.lockdown === true && (forWriting || (mode & ~0o444) !== 0))
          throw new Fault('EPERM', 'lockdown');
        return open(forWriting);
      },
    };
  }
}
