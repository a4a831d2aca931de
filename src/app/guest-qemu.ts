/** Stock QEMU out of the rig with served VFs as devices. */
import { type ChildProcess, spawn } from 'node:child_process';
import { Fault } from '../base/fault.ts';
import { CONTROL_PORT } from './guest-init.ts';
import { type GuestRig, qemuCommand } from './guest-rig.ts';

/** Where the memory of a guest lies unless its starter has another place for it. */
const MEMORY_ID = 'memory';

/** Slots of pcie.0 that are free on q35: 0 is the host bridge, 0x1f the LPC bridge. */
const FIRST_SLOT = 2;
const CONTROL_SLOT = 0x1e;

/** VFs that fit into one guest: a slot each. */
export const MAX_GUEST_VFS = CONTROL_SLOT - FIRST_SLOT;

/** What to start. */
export interface GuestQemuOptions {
  readonly rig: GuestRig;
  /** Sockets of the served VFs, in the order of the guest's slots. */
  readonly vfSockets: readonly string[];
  /** True for parts that are behind a root port, false for integrated ones. */
  readonly discrete: boolean;
  readonly smp: number;
  /** Bytes of memory. */
  readonly memory: number;
  readonly initramfs: string;
  readonly kernelArgs: readonly string[];
  /** Sockets that QEMU connects to, for the control channel and for the serial console. */
  readonly controlSocket: string;
  readonly consoleSocket: string;
  /** QEMU writes all that the serial console shows to this file. */
  readonly consoleLog: string;
  /** `-object` of the guest's memory, id `memory`; a shared memfd unless given. */
  readonly memoryObject?: string | undefined;
  /** More arguments, such as a QMP socket or `-incoming defer`. */
  readonly extraArgs?: readonly string[] | undefined;
  /** A program that becomes QEMU, with its arguments, such as `ip netns exec NAME`. */
  readonly launcher?: readonly string[] | undefined;
}

/** The arguments of QEMU itself. */
export function qemuArguments(options: GuestQemuOptions): string[] {
  const { rig, memory, smp, memoryObject, extraArgs = [] } = options;
  const object = memoryObject ?? `memory-backend-memfd,id=${MEMORY_ID},size=${memory},share=on`;
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-machine', `q35,memory-backend=${MEMORY_ID}`, '-m', `${memory}B`, '-object', object],
    ...['-accel', 'tcg,thread=multi', '-cpu', 'Haswell', '-smp', String(smp)],
    ...['-kernel', rig.vmlinuz, '-initrd', options.initramfs],
    ...['-append', options.kernelArgs.join(' ')],
    ...[
      '-chardev',
      `socket,id=console,path=${options.consoleSocket},logfile=${options.consoleLog}`,
    ],
    ...['-serial', 'chardev:console'],
    ...['-chardev', `socket,id=control,path=${options.controlSocket}`],
    ...['-device', `virtio-serial-pci,addr=0x${CONTROL_SLOT.toString(16)}`],
    ...['-device', `virtserialport,chardev=control,name=${CONTROL_PORT}`],
    ...options.vfSockets.flatMap((path, n) => vfDevice(path, n, options.discrete)),
    ...extraArgs,
  ];
}

function vfDevice(path: string, n: number, discrete: boolean): string[] {
  const slot = `0x${(FIRST_SLOT + n).toString(16)}`;
  const device = { driver: 'vfio-user-pci', id: `vf${n}`, socket: { type: 'unix', path } };
  if (!discrete) return ['-device', JSON.stringify({ ...device, addr: slot })];
  const port = `pcie-root-port,id=port${n},chassis=${n + 1},slot=${n + 1},addr=${slot}`;
  return ['-device', port, '-device', JSON.stringify({ ...device, bus: `port${n}` })];
}

/** What QEMU said is kept up to so many characters. */
const KEPT_TEXT = 4000;

/** How a QEMU ended. */
export interface QemuEnd {
  /** 0 when the guest switched itself off. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What QEMU said on stderr. */
  readonly text: string;
}

/** A running QEMU. */
export class GuestQemu {
  readonly #child: ChildProcess;
  /** Resolves when QEMU is gone. */
  readonly ended: Promise<QemuEnd>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    let text = '';
    child.stderr?.setEncoding('utf8').on('data', (said: string) => {
      text = (text + said).slice(-KEPT_TEXT);
    });
    // No guest outlives the process that started it, however that ends itself.
    const onExit = () => child.kill('SIGKILL');
    process.once('exit', onExit);
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => resolve({ code: null, signal: null, text: error.message }));
      child.once('close', (code, signal) => resolve({ code, signal, text: text.trim() }));
    });
    void this.ended.then(() => process.off('exit', onExit));
  }

  /** Starts QEMU. @throws {Fault} ENOENT outside of a checkout */
  static async start(options: GuestQemuOptions): Promise<GuestQemu> {
    const { command, args, env } = await qemuCommand(options.rig);
    const [program = command, ...line] = [...(options.launcher ?? []), command, ...args];
    return new GuestQemu(
      spawn(program, [...line, ...qemuArguments(options)], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, ...env },
        // Ctrl-C in a terminal is for the process that started this one.
        detached: true,
      }),
    );
  }

  /** Process id. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Ends QEMU the hard way and waits. Idempotent. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}

/** Why a guest is gone, for those who wait for it. */
export function endFault({ code, signal, text }: QemuEnd): Fault {
  const how = signal ?? (code === null ? 'not started' : `exit code ${code}`);
  return new Fault('ENODEV', `QEMU ended (${how})${text === '' ? '' : `: ${text}`}`);
}
