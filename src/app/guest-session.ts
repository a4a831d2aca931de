/** A stock Linux guest under stock QEMU with served VFs, from its start to its end. */
import { writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { createServer, type Server } from 'node:net';
import { basename, join } from 'node:path';
import { Fault } from '../base/fault.ts';
import { type CommandOptions, type CommandResult, GuestControl } from './guest-control.ts';
import { GUEST_PATH, type GuestFile, guestInitramfs } from './guest-initramfs.ts';
import { type LogLine, parseKernelLog, phaseMark } from './guest-log.ts';
import { endFault, GuestQemu, type GuestQemuOptions, type QemuEnd } from './guest-qemu.ts';
import type { GuestRig } from './guest-rig.ts';

/** Memory of a guest unless told otherwise, bytes. */
export const DEFAULT_GUEST_MEMORY = 2 * 2 ** 30;
/**
 * CPUs of a guest unless told otherwise. Under TCG on a machine of few cores one is the fastest; with
 * several, a guest on a machine that is busy stood still in its early boot a few times in a hundred.
 */
export const DEFAULT_GUEST_SMP = 1;
/** A boot takes 10 s under TCG; machines that are busy with others need more. */
const BOOT_TIMEOUT_MS = 180_000;
const PROBE_TIMEOUT_MS = 180_000;
const POWER_OFF_TIMEOUT_MS = 30_000;

const KERNEL_ARGS = [
  'console=ttyS0',
  'random.trust_cpu=on',
  // QEMU then ends, with -no-reboot, and nobody waits in vain.
  'panic=-1',
  'log_buf_len=8M',
];

/** Files in the guest's directory. */
const INITRAMFS = 'initramfs.cpio';
const CONTROL_SOCKET = 'control.sock';
const CONSOLE_SOCKET = 'console.sock';

/** What a guest is to be. */
export interface GuestSessionOptions {
  readonly rig: GuestRig;
  /** A directory of the guest's own for sockets and files; not made here, not removed here. */
  readonly directory: string;
  /** Sockets of the served VFs, in the order in which the guest finds them. */
  readonly vfSockets: readonly string[];
  /** True for parts that are behind a root port. */
  readonly discrete: boolean;
  readonly smp?: number | undefined;
  /** Bytes of memory. */
  readonly memory?: number | undefined;
  /** Programs to put into the guest. */
  readonly files?: readonly GuestFile[] | undefined;
  /** Parameters of modules by the module's name: `{ drm: 'debug=0x1ff' }`. */
  readonly moduleArgs?: Readonly<Record<string, string>> | undefined;
  /** `-object` of the guest's memory, id `memory`; a shared memfd unless given. */
  readonly memoryObject?: string | undefined;
  /** More arguments for QEMU, such as a QMP socket or `-incoming defer`. */
  readonly extraArgs?: readonly string[] | undefined;
  /** A program that becomes QEMU, with its arguments, such as `ip netns exec NAME`. */
  readonly launcher?: readonly string[] | undefined;
}

/** A VF as the guest sees it. */
export interface GuestDevice {
  /** Such as `0000:00:02.0`. */
  readonly address: string;
  /** Name of the driver, undefined when none has it. */
  readonly driver: string | undefined;
  /** Such as `renderD128`, undefined when there is none. */
  readonly renderNode: string | undefined;
}

/** What a probe gave. */
export interface ProbeResult {
  /** Time of the insmod of xe, in which it probes every VF. */
  readonly probeMs: number;
  readonly devices: readonly GuestDevice[];
}

/** A guest. */
export class GuestSession {
  /** What the serial console showed. */
  readonly consoleLog: string;
  readonly #options: GuestSessionOptions;
  #qemu: GuestQemu;
  readonly #control: GuestControl;
  readonly #console: GuestConsole;
  readonly #startedAt: number;
  #targets = 0;

  private constructor(
    options: GuestSessionOptions,
    parts: { qemu: GuestQemu; control: GuestControl; console: GuestConsole },
    startedAt: number,
  ) {
    this.#options = options;
    this.#qemu = parts.qemu;
    this.#control = parts.control;
    this.#console = parts.console;
    this.#startedAt = startedAt;
    this.consoleLog = consoleLogOf(options.directory);
    this.#watch(parts.qemu);
  }

  /** The guest is gone when the QEMU that has it is; others come and go. */
  #watch(qemu: GuestQemu): void {
    void qemu.ended.then((end) => {
      if (qemu !== this.#qemu) return;
      this.#control.fail(endFault(end));
      this.#close();
    });
  }

  /**
   * Starts QEMU; {@link waitBoot} waits for the guest in it.
   * @throws {Fault} ENOENT outside of a checkout, EIO when a socket cannot be made
   */
  static async start(options: GuestSessionOptions): Promise<GuestSession> {
    const { rig, directory, files = [] } = options;
    const place = (name: string) => join(directory, name);
    await writeFile(place(INITRAMFS), await guestInitramfs(rig, files));
    const control = await GuestControl.listen(place(CONTROL_SOCKET));
    const console = await GuestConsole.listen(place(CONSOLE_SOCKET));
    try {
      const startedAt = performance.now();
      const qemu = await GuestQemu.start(qemuOptions(options, {}));
      return new GuestSession(options, { qemu, control, console }, startedAt);
    } catch (error) {
      control.close();
      console.close();
      throw error;
    }
  }

  /** Resolves when QEMU is gone. */
  get ended(): Promise<QemuEnd> {
    return this.#qemu.ended;
  }

  /**
   * Starts another QEMU of the same kind, into which the guest can be moved: it waits for it, and has
   * the guest only after {@link movedTo}.
   *
   * @param vfSockets of the VFs that it has instead
   * @param extraArgs such as its QMP socket, `-S` and `-incoming defer`
   * @param launcher a program that becomes this QEMU
   * @throws {Fault} ENOENT outside of a checkout
   */
  async startTarget(
    vfSockets: readonly string[],
    extraArgs: readonly string[],
    launcher?: readonly string[],
  ): Promise<GuestQemu> {
    const consoleLog = `${this.consoleLog}.${++this.#targets}`;
    const changed = { vfSockets, extraArgs, consoleLog, launcher };
    return await GuestQemu.start(qemuOptions(this.#options, changed));
  }

  /** Tells that the guest was moved to a QEMU of {@link startTarget}. */
  movedTo(qemu: GuestQemu): void {
    this.#qemu = qemu;
    this.#watch(qemu);
  }

  /** Process id of QEMU. */
  get pid(): number {
    return this.#qemu.pid;
  }

  /** The serial console, both ways; undefined until QEMU has opened it. */
  get console(): Socket | undefined {
    return this.#console.socket;
  }

  /**
   * Waits until the guest obeys.
   * @returns ms since QEMU was started
   * @throws {Fault} ETIMEDOUT, ENODEV when QEMU ended
   */
  async waitBoot(): Promise<number> {
    await within(this.#control.ready, BOOT_TIMEOUT_MS, 'the guest did not boot');
    return performance.now() - this.#startedAt;
  }

  /**
   * Loads xe with all that it depends on, which probes the VFs.
   * @throws {Fault} EIO when a module cannot be loaded; ETIMEDOUT, ENODEV
   */
  async waitProbe(): Promise<ProbeResult> {
    const modules = this.#options.rig.guestModules.map((file) => basename(file, '.ko'));
    const insmod = (name: string) =>
      `insmod ${GUEST_PATH.MODULES}/${name}.ko ${this.#options.moduleArgs?.[name] ?? ''}`;
    await this.#must(['set -e', ...modules.slice(0, -1).map(insmod)].join('\n'));
    await this.mark('probe');
    const startedAt = performance.now();
    await this.#must(modules.slice(-1).map(insmod).join('\n'));
    const probeMs = performance.now() - startedAt;
    return { probeMs, devices: await this.devices() };
  }

  /** The VFs in the order of their sockets. @throws {Fault} ETIMEDOUT, ENODEV */
  async devices(): Promise<GuestDevice[]> {
    const { output } = await this.run(LIST_DEVICES);
    return output
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [address = '', driver = '', renderNode = ''] = line.split(' ');
        return { address, driver: driver || undefined, renderNode: renderNode || undefined };
      });
  }

  /**
   * Runs a shell command in the guest; several may run at once.
   * @throws {Fault} ETIMEDOUT when it takes too long, ENODEV when the guest is gone
   */
  async run(command: string, options?: CommandOptions): Promise<CommandResult> {
    return await this.#control.run(command, options);
  }

  /** Begins a phase in the kernel log (see `guest-log.ts`). @throws {Fault} ETIMEDOUT, ENODEV */
  async mark(phase: string): Promise<void> {
    await this.run(`echo '${phaseMark(phase)}' >/dev/kmsg`);
  }

  /** The kernel log so far, as `dmesg -r` prints it. @throws {Fault} ETIMEDOUT, ENODEV */
  async dmesgText(): Promise<string> {
    return (await this.run('dmesg -r')).output;
  }

  /** The kernel log so far. @throws {Fault} ETIMEDOUT, ENODEV */
  async dmesg(): Promise<LogLine[]> {
    return parseKernelLog(await this.dmesgText());
  }

  /** Switches the guest off; one that does not obey is ended. */
  async powerOff(): Promise<void> {
    const off = this.run('poweroff -f', { timeoutMs: POWER_OFF_TIMEOUT_MS }).catch(() => {});
    const ended = this.#qemu.ended.then(() => {});
    await within(ended, POWER_OFF_TIMEOUT_MS, 'the guest does not switch off').catch(() => {});
    await this.kill();
    await off;
  }

  /** Ends QEMU the hard way. Idempotent. */
  async kill(): Promise<void> {
    await this.#qemu.kill();
    this.#close();
  }

  async #must(command: string): Promise<void> {
    const { status, output } = await this.run(command, { timeoutMs: PROBE_TIMEOUT_MS });
    if (status !== 0)
      throw new Fault('EIO', `in the guest: ${output.trim() || `exit status ${status}`}`);
  }

  #close(): void {
    this.#control.close();
    this.#console.close();
  }
}

/** Display devices of Intel: address, driver, render node. */
const LIST_DEVICES = `
cd /sys/bus/pci/devices
for device in *; do
  [ "$(cat $device/vendor)" = 0x8086 ] || continue
  case "$(cat $device/class)" in 0x03*) ;; *) continue ;; esac
  driver=; [ -e $device/driver ] && driver=$(basename "$(readlink $device/driver)")
  node=; for each in $device/drm/renderD*; do [ -e $each ] && node=$(basename $each); done
  echo "$device $driver $node"
done
`;

/** The host's end of the serial console: what nobody reads is dropped. */
class GuestConsole {
  readonly #server: Server;
  socket: Socket | undefined;

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.socket = socket;
      socket.on('error', () => {});
      socket.resume();
    });
  }

  static async listen(path: string): Promise<GuestConsole> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(new Fault('EIO', error.message, { cause: error })));
      server.listen(path, resolve);
    });
    return new GuestConsole(server);
  }

  close(): void {
    this.socket?.destroy();
    this.#server.close();
  }
}

/** What QEMU is started with, with some of it changed. */
function qemuOptions(
  options: GuestSessionOptions,
  changed: Partial<Pick<GuestQemuOptions, 'vfSockets' | 'extraArgs' | 'consoleLog' | 'launcher'>>,
): GuestQemuOptions {
  const place = (name: string) => join(options.directory, name);
  return {
    ...options,
    smp: options.smp ?? DEFAULT_GUEST_SMP,
    memory: options.memory ?? DEFAULT_GUEST_MEMORY,
    initramfs: place(INITRAMFS),
    kernelArgs: KERNEL_ARGS,
    controlSocket: place(CONTROL_SOCKET),
    consoleSocket: place(CONSOLE_SOCKET),
    consoleLog: consoleLogOf(options.directory),
    ...changed,
  };
}

function consoleLogOf(directory: string): string {
  return join(directory, 'console.log');
}

async function within<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Fault('ETIMEDOUT', `${what} within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
