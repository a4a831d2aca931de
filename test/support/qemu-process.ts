import { type ChildProcess, spawn } from 'node:child_process';
import * as path from 'node:path';
import { qemuCommand, type Rig } from '../../guest/rig.mjs';
import { QmpClient } from '../../src/app/qmp.ts';
import { waitFor } from './wait-for.ts';

/** How long a QEMU may take until it answers on its QMP socket: it attaches its devices first. */
const START_TIMEOUT_MS = 60_000;

/** One BAR as `query-pci` reports it. */
export interface QmpPciRegion {
  readonly bar: number;
  readonly type: string;
  readonly size: number;
  /** Guest physical address; undefined until the firmware has assigned and enabled it. */
  readonly address: number | undefined;
  readonly prefetch: boolean;
  readonly memType64: boolean;
}

/** One PCI device as `query-pci` reports it. */
export interface QmpPciDevice {
  readonly qdevId: string;
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number | undefined;
  readonly subsystem: number | undefined;
  readonly class: number;
  readonly regions: readonly QmpPciRegion[];
}

/** A QEMU of the rig: q35 under TCG, guest memory in a shared memfd, one `vfio-user-pci` device. */
export class QemuProcess {
  readonly qmp: QmpClient;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;

  private constructor(child: ChildProcess, exited: Promise<void>, qmp: QmpClient) {
    this.#child = child;
    this.#exited = exited;
    this.qmp = qmp;
  }

  /**
   * Starts QEMU and returns when it answers; rejects with what QEMU said when it gave up.
   * @param options.socket the vfio-user server's socket
   * @param options.deviceId id of the device in QEMU
   * @param options.directory for its QMP socket
   */
  static async start(options: {
    readonly rig: Rig;
    readonly socket: string;
    readonly deviceId: string;
    readonly directory: string;
    readonly memory?: string;
  }): Promise<QemuProcess> {
    const qmpPath = path.join(options.directory, 'qmp.sock');
    const { command, args, env } = qemuCommand(options.rig);
    const device = {
      driver: 'vfio-user-pci',
      id: options.deviceId,
      socket: { type: 'unix', path: options.socket },
    };
    const child = spawn(
      command,
      [
        ...args,
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'tcg'],
        ...['-machine', 'q35,memory-backend=m', '-m', options.memory ?? '256M'],
        ...['-object', `memory-backend-memfd,id=m,size=${options.memory ?? '256M'},share=on`],
        ...['-device', JSON.stringify(device)],
        ...['-qmp', `unix:${qmpPath},server=on,wait=off`],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } },
    );
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    let ended: string | undefined;
    const exited = new Promise<void>((resolve) => {
      child.on('error', (error) => {
        ended = error.message;
        resolve();
      });
      child.on('close', (code, signal) => {
        ended = `${signal ?? `exit code ${code}`}: ${said.trim()}`;
        resolve();
      });
    });
    try {
      const qmp = await waitFor('QEMU answers on its QMP socket', START_TIMEOUT_MS, async () => {
        if (ended !== undefined) throw new Error(`QEMU ended with ${ended}`);
        return await connectIfListening(qmpPath);
      });
      return new QemuProcess(child, exited, qmp);
    } catch (error) {
      child.kill('SIGKILL');
      await exited;
      throw error;
    }
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('QEMU was not started');
    return this.#child.pid;
  }

  /** The device with an id, on the root bus. */
  async pciDevice(id: string): Promise<QmpPciDevice> {
    const buses = (await this.qmp.execute('query-pci')) as readonly RawPciBus[];
    const found = buses.flatMap((bus) => bus.devices).find((each) => each.qdev_id === id);
    if (found === undefined) throw new Error(`query-pci shows no device ${id}`);
    return {
      qdevId: found.qdev_id,
      vendor: found.id.vendor,
      device: found.id.device,
      subsystemVendor: found.id['subsystem-vendor'],
      subsystem: found.id.subsystem,
      class: found.class_info.class,
      regions: found.regions.map((region) => ({
        bar: region.bar,
        type: region.type,
        size: region.size,
        // QEMU prints PCI_BAR_UNMAPPED, all ones, for a BAR that is not decoded.
        address: region.address < 0 || region.address >= 2 ** 63 ? undefined : region.address,
        prefetch: region.prefetch ?? false,
        memType64: region.mem_type_64 ?? false,
      })),
    };
  }

  /** Ends QEMU the hard way, and returns when it is gone. */
  async kill(): Promise<void> {
    this.qmp.close();
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

/** What `query-pci` returns, as far as it is read here. Source: QEMU qapi/pci.json */
interface RawPciBus {
  readonly devices: readonly {
    readonly qdev_id: string;
    readonly id: {
      readonly vendor: number;
      readonly device: number;
      readonly 'subsystem-vendor'?: number;
      readonly subsystem?: number;
    };
    readonly class_info: { readonly class: number };
    readonly regions: readonly {
      readonly bar: number;
      readonly type: string;
      readonly address: number;
      readonly size: number;
      readonly prefetch?: boolean;
      readonly mem_type_64?: boolean;
    }[];
  }[];
}

/** A client, or undefined while QEMU has not made its socket yet. */
async function connectIfListening(qmpPath: string): Promise<QmpClient | undefined> {
  try {
    return await QmpClient.connect(qmpPath);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    throw error;
  }
}
