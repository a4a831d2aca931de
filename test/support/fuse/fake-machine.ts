/**
 * A machine with one xe PF as its /sys, /proc, /dev and /boot show it, over an emulated GPU.
 *
 * Source: drivers/pci/iov.c (sriov_numvfs_store), drivers/pci/pci-sysfs.c (driver_override),
 * drivers/base/bus.c (unbind_store, drivers_probe_store), drivers/gpu/drm/xe/xe_pci_sriov.c,
 * xe_sriov_pf_sysfs.c.
 */
import { Fault } from '../../../src/base/fault.ts';
import type { VfDigests } from '../../../src/gpu/digests.ts';
import { EmulatedGpu } from '../../../src/gpu/emulated-gpu.ts';
import { XePf } from '../../../src/pf/xe-pf.ts';
import type { PlatformName } from '../../../src/xe/platforms.ts';
import { FakeXeDebugfs, type FakeXeOptions } from './fake-xe-debugfs.ts';
import { constant, type DirNode, dir, link, type TreeNode, textFile } from './tree.ts';

/** What the machine is like; what is left out is as on a stock Debian. */
export interface FakeMachineOptions extends FakeXeOptions {
  readonly platform?: PlatformName;
  readonly totalVfs?: number;
  readonly iommu?: boolean;
  /** Modules that are loaded, hence drivers that are there. */
  readonly drivers?: readonly string[];
  /** Drivers whose probe fails. */
  readonly probeFails?: readonly string[];
  readonly kernel?: string;
  readonly config?: string;
  readonly lockdownText?: string;
  readonly memlock?: string;
  readonly debugfs?: boolean;
  /** The directory that /run leads to. */
  readonly runDirectory?: string;
}

/** One VF of the machine as a PCI device. */
interface FakeVf {
  readonly vfid: number;
  readonly bdf: string;
  driver: string | undefined;
  override: string | undefined;
}

/** The values of a function's profile in sriov_admin. */
interface Profile {
  execQuantumMs: number;
  preemptTimeoutUs: number;
  vram: number;
}

const PRIORITIES = ['low', 'normal', 'high'];
const MIB = 2 ** 20;
const CONFIG = [
  'CONFIG_DRM_XE=m',
  'CONFIG_PCI_IOV=y',
  'CONFIG_DEBUG_FS=y',
  'CONFIG_VFIO=m',
  'CONFIG_VFIO_GROUP=y',
  'CONFIG_VFIO_CONTAINER=y',
  'CONFIG_VFIO_IOMMU_TYPE1=m',
  'CONFIG_VFIO_PCI=m',
  '# CONFIG_XE_VFIO_PCI is not set',
  '# CONFIG_IOMMUFD is not set',
].join('\n');

export const PF = '0000:03:00.0';

/** A machine. Its tree is the root directory of what it shows. */
export class FakeMachine {
  readonly gpu: EmulatedGpu;
  readonly pf: XePf;
  readonly debugfs: FakeXeDebugfs;
  readonly tree: DirNode;
  readonly options: FakeMachineOptions;
  /** Every write to sysfs that was taken, such as `sriov_numvfs=2`. */
  readonly writes: string[] = [];
  /** Answers of sysfs files instead of doing anything, once each: `sriov_numvfs` → EBUSY. */
  readonly faults = new Map<string, Fault>();
  /** Called before a write is done; what it returns is waited for. */
  beforeWrite: ((what: string) => Promise<void> | void) | undefined;
  /** Processes that the machine shows under /proc. */
  readonly processes = new Set<number>();
  vfs: FakeVf[] = [];
  autoprobe = true;
  priority = { pf: 0, vf: 0 };
  readonly #profiles = new Map<number, Profile>();
  readonly #drivers: readonly string[];

  constructor(options: FakeMachineOptions = {}) {
    this.options = options;
    this.#drivers = options.drivers ?? ['xe', 'vfio-pci'];
    const platform = options.platform ?? 'bmg';
    this.gpu = new EmulatedGpu({ platform, totalVfs: options.totalVfs ?? 7 });
    this.pf = new XePf({ device: this.gpu.device });
    this.debugfs = new FakeXeDebugfs(this.pf, this.gpu.device, options);
    this.tree = dir({
      sys: dir({
        bus: dir({ pci: this.#bus() }),
        kernel: dir(() => ({
          debug: dir(options.debugfs === false ? {} : { dri: dir({ [PF]: this.debugfs.root }) }),
          iommu_groups: dir(() => this.#groups()),
          security: dir(
            options.lockdownText === undefined ? {} : { lockdown: constant(options.lockdownText) },
          ),
        })),
        module: dir(() =>
          Object.fromEntries(
            [...this.#drivers, 'vfio', 'vfio_iommu_type1'].map((name) => [
              name.replaceAll('-', '_'),
              dir({}),
            ]),
          ),
        ),
      }),
      proc: dir(() => ({
        sys: dir({ kernel: dir({ osrelease: constant(options.kernel ?? '7.3.4+deb13-amd64') }) }),
        cmdline: constant('BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on'),
        self: dir({
          limits: constant(
            `Limit                     Soft Limit           Hard Limit           Units     \nMax locked memory         ${options.memlock ?? '8388608'}              8388608              bytes     `,
          ),
        }),
        ...Object.fromEntries([...this.processes].map((pid) => [pid, link(`/proc/${pid}`)])),
      })),
      boot: dir({
        [`config-${options.kernel ?? '7.3.4+deb13-amd64'}`]: constant(options.config ?? CONFIG),
      }),
      ...(options.runDirectory === undefined ? {} : { run: link(options.runDirectory) }),
      dev: dir({
        vfio: dir(() => ({
          vfio: constant(''),
          ...Object.fromEntries(
            this.vfs
              .filter(({ driver }) => driver === 'vfio-pci')
              .map(({ vfid }) => [this.#group(vfid), constant('')]),
          ),
        })),
      }),
    });
  }

  /** Enables VFs without anybody asking. */
  enable(count: number, vram = 16 * MIB): void {
    const { discrete } = this.gpu.platform;
    this.pf.enableVfs(count, discrete ? { vramSize: vram } : {});
    this.#appear(count);
  }

  vf(vfid: number): FakeVf {
    const vf = this.vfs[vfid - 1];
    if (vf === undefined) throw new TypeError(`VF${vfid} is not enabled`);
    return vf;
  }

  digests(vfid: number): VfDigests {
    return this.gpu.digests(vfid);
  }

  close(): void {
    this.gpu.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #bus(): TreeNode {
    return dir({
      devices: dir(() => ({
        [PF]: this.#pfDevice(),
        ...Object.fromEntries(this.vfs.map((vf) => [vf.bdf, this.#vfDevice(vf)])),
      })),
      drivers: dir(() =>
        Object.fromEntries(this.#drivers.map((name) => [name, this.#driver(name)])),
      ),
      drivers_probe: this.#store(0o200, 'drivers_probe', undefined, (bdf) => {
        const vf = this.#find(bdf);
        if (vf.driver === undefined) this.#probe(vf);
      }),
      drivers_autoprobe: constant('1'),
    });
  }

  #driver(name: string): TreeNode {
    return dir(() => ({
      unbind: this.#store(0o200, `drivers/${name}/unbind`, undefined, (bdf) => {
        const vf = this.#find(bdf);
        if (vf.driver !== name) throw new Fault('ENODEV', 'not bound');
        vf.driver = undefined;
      }),
      ...(name === 'xe' ? { [PF]: link(`../../devices/${PF}`) } : {}),
    }));
  }

  #common(): Record<string, TreeNode> {
    const hex = (value: number, digits: number) =>
      constant(`0x${value.toString(16).padStart(digits, '0')}`);
    return {
      vendor: hex(0x8086, 4),
      device: hex(this.gpu.device.deviceId, 4),
      revision: hex(this.gpu.device.revisionId, 2),
      class: constant('0x030000'),
    };
  }

  #pfDevice(): TreeNode {
    return dir(() => ({
      ...this.#common(),
      driver: link('../../drivers/xe'),
      driver_override: constant('(null)'),
      ...this.#groupLink(0),
      sriov_totalvfs: constant(String(this.gpu.device.totalVfs)),
      sriov_numvfs: this.#store(
        0o644,
        'sriov_numvfs',
        () => String(this.vfs.length),
        (text) => this.#setNumVfs(text),
      ),
      sriov_drivers_autoprobe: this.#store(
        0o644,
        'sriov_drivers_autoprobe',
        () => (this.autoprobe ? '1' : '0'),
        (text) => {
          this.autoprobe = text === '1';
        },
      ),
      ...Object.fromEntries(
        this.vfs.map(({ bdf }, n) => [`virtfn${n}`, link(`../${bdf}`)] as const),
      ),
      sriov_admin: this.#admin(),
    }));
  }

  #vfDevice(vf: FakeVf): TreeNode {
    return dir(() => ({
      ...this.#common(),
      ...(vf.driver === undefined ? {} : { driver: link(`../../drivers/${vf.driver}`) }),
      driver_override: this.#store(
        0o644,
        `${vf.bdf}/driver_override`,
        () => vf.override ?? '(null)',
        (text) => {
          vf.override = text === '' ? undefined : text;
        },
      ),
      physfn: link(`../${PF}`),
      ...this.#groupLink(vf.vfid),
    }));
  }

  #group(vfid: number): string {
    return String(20 + vfid);
  }

  #groupLink(vfid: number): Record<string, TreeNode> {
    if (this.options.iommu === false) return {};
    return { iommu_group: link(`../../../../kernel/iommu_groups/${this.#group(vfid)}`) };
  }

  #groups(): Record<string, TreeNode> {
    if (this.options.iommu === false) return {};
    const devices = [{ vfid: 0, bdf: PF }, ...this.vfs];
    return Object.fromEntries(
      devices.map(({ vfid, bdf }) => [
        this.#group(vfid),
        dir({ devices: dir({ [bdf]: link(`../../../../bus/pci/devices/${bdf}`) }) }),
      ]),
    );
  }

  #profile(vfid: number): Profile {
    let profile = this.#profiles.get(vfid);
    if (profile === undefined) {
      profile = { execQuantumMs: 0, preemptTimeoutUs: 0, vram: 0 };
      this.#profiles.set(vfid, profile);
    }
    return profile;
  }

  #admin(): TreeNode {
    const { totalVfs } = this.gpu.device;
    const vfids = Array.from({ length: totalVfs + 1 }, (_, n) => n);
    return dir({
      '.bulk_profile': dir({
        sched_priority: this.#store(0o200, '.bulk_profile/sched_priority', undefined, (text) => {
          const at = PRIORITIES.indexOf(text);
          if (at < 0 || at > 1) throw new Fault('EINVAL', 'no priority for VFs');
          this.priority = { pf: at, vf: at };
        }),
      }),
      ...Object.fromEntries(
        vfids.map((vfid) => [vfid === 0 ? 'pf' : `vf${vfid}`, this.#adminOf(vfid)]),
      ),
    });
  }

  #adminOf(vfid: number): TreeNode {
    const name = vfid === 0 ? 'pf' : `vf${vfid}`;
    const profile = this.#profile(vfid);
    const number = (file: string, key: 'execQuantumMs' | 'preemptTimeoutUs') =>
      this.#store(
        0o644,
        `${name}/${file}`,
        () => String(profile[key]),
        (text) => {
          profile[key] = this.#number(text, 2 ** 32 - 1);
        },
      );
    const choices = (vfid === 0 ? PRIORITIES : PRIORITIES.slice(0, 2)).map((word, at) =>
      at === (vfid === 0 ? this.priority.pf : this.priority.vf) ? `[${word}]` : word,
    );
    return dir({
      profile: dir({
        exec_quantum_ms: number('exec_quantum_ms', 'execQuantumMs'),
        preempt_timeout_us: number('preempt_timeout_us', 'preemptTimeoutUs'),
        sched_priority: this.#store(
          vfid === 0 ? 0o644 : 0o444,
          `${name}/sched_priority`,
          () => choices.join(' '),
          (text) => {
            if (vfid !== 0) throw new Fault('EOPNOTSUPP', 'not for a VF');
            this.priority.pf = PRIORITIES.indexOf(text);
          },
        ),
        ...(vfid === 0 || !this.gpu.platform.discrete
          ? {}
          : {
              vram_quota: this.#store(
                0o644,
                `${name}/vram_quota`,
                () => String(this.#vram(vfid)),
                (text) => this.#setVram(vfid, this.#number(text, Number.MAX_SAFE_INTEGER)),
              ),
            }),
      }),
      ...(vfid === 0 || this.vfs.length < vfid
        ? {}
        : { device: link(`../../../${this.vf(vfid).bdf}`) }),
    });
  }

  #vram(vfid: number): number {
    if (vfid > this.vfs.length) return this.#profile(vfid).vram;
    return this.pf.provisioning.config(vfid).vramSize;
  }

  #setVram(vfid: number, size: number): void {
    if (size > 8 * 2 ** 30) throw new Fault('ENOSPC', 'no room');
    if (vfid <= this.vfs.length) this.pf.provisioning.setVram(vfid, size);
    this.#profile(vfid).vram = size;
  }

  #number(text: string, most: number): number {
    if (!/^\d+$/.test(text)) throw new Fault('EINVAL', 'no number');
    if (Number(text) > most) throw new Fault('ERANGE', 'too much');
    return Number(text);
  }

  async #setNumVfs(text: string): Promise<void> {
    const { totalVfs } = this.gpu.device;
    const count = this.#number(text, 65535);
    if (count > totalVfs) throw new Fault('ERANGE', 'too many');
    if (count === this.vfs.length) return;
    if (count === 0) {
      this.vfs = [];
      await this.pf.disableVfs();
      // Sysfs does not leave automatic provisioning, the emulated PF's setVram does.
      this.pf.provisioning.restoreAuto(0, totalVfs);
      for (const profile of this.#profiles.values()) profile.vram = 0;
      return;
    }
    if (this.vfs.length > 0) throw new Fault('EBUSY', 'VFs are enabled');
    const vram = this.#profile(1).vram;
    this.pf.enableVfs(count, vram > 0 ? { vramSize: vram } : {});
    this.#appear(count);
  }

  #appear(count: number): void {
    this.vfs = Array.from({ length: count }, (_, n) => ({
      vfid: n + 1,
      bdf: `0000:03:0${Math.floor((n + 1) / 8)}.${(n + 1) % 8}`,
      driver: undefined,
      override: undefined,
    }));
    if (this.autoprobe) for (const vf of this.vfs) this.#probe(vf);
  }

  #find(bdf: string): FakeVf {
    const vf = this.vfs.find((one) => one.bdf === bdf);
    if (vf === undefined) throw new Fault('ENODEV', 'no such device');
    return vf;
  }

  #probe(vf: FakeVf): void {
    const name = vf.override ?? 'xe';
    if (!this.#drivers.includes(name)) return;
    if (this.options.probeFails?.includes(name) === true) throw new Fault('EINVAL', 'probe failed');
    vf.driver = name;
  }

  #store(
    mode: number,
    what: string,
    read: (() => string) | undefined,
    write: (text: string) => void | Promise<void>,
  ): TreeNode {
    return textFile(mode, read === undefined ? undefined : () => `${read()}\n`, async (text) => {
      const fault = this.faults.get(what);
      this.faults.delete(what);
      await this.beforeWrite?.(what);
      if (fault !== undefined) throw fault;
      await write(text);
      this.writes.push(`${what}=${text}`);
    });
  }
}
