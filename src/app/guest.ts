/**
 * The use case guest: VFs of an emulated GPU are served to a stock Linux guest under stock QEMU,
 * whose xe driver probes them and whose GPU exerciser, if wanted, works on them.
 */
import { mkdtemp, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../base/fault.ts';
import type { CounterSnapshot } from '../gpu/counters.ts';
import { type Platform, type PlatformName, platformByName } from '../xe/platforms.ts';
import { type ExerciseResult, runExerciser } from './guest-exerciser.ts';
import { GUEST_PATH } from './guest-initramfs.ts';
import { judgeKernelLog, type LogFindings, parseKernelLog } from './guest-log.ts';
import { MAX_GUEST_VFS } from './guest-qemu.ts';
import { type GuestRig, prepareExerciser, prepareRig } from './guest-rig.ts';
import {
  DEFAULT_GUEST_MEMORY,
  DEFAULT_GUEST_SMP,
  type GuestDevice,
  GuestSession,
} from './guest-session.ts';
import { type GuestTerminal, guestShell } from './guest-shell.ts';
import { ServedHost } from './serve.ts';
import type { ServeEvent } from './serve-messages.ts';

/** VRAM of each VF of a discrete part unless told otherwise: enough for all that the exerciser does. */
const ENOUGH_VRAM = 3 * 2 ** 30;
/** So many VFs can have that; more of them get a fair share. */
const MOST_WITH_ENOUGH = 3;
/** A socket's path has at most 107 bytes; a temporary directory with a longer one is not used. */
const LONGEST_TMPDIR = 70;
const KERNEL_LOG = 'kernel.log';

/** What to boot. */
export interface GuestOptions {
  readonly platform: string;
  /** VFs of one PF, all in the guest. */
  readonly vfs: number;
  readonly smp?: number | undefined;
  /** Bytes of the guest's memory. */
  readonly memory?: number | undefined;
  /** Bytes of VRAM of each VF, on a discrete part. */
  readonly vramSize?: number | undefined;
  /** Cases for the exerciser, undefined for none of them, empty for all. */
  readonly exercise?: string | undefined;
  /** Bits of `drm.debug` in the guest. */
  readonly drmDebug?: number | undefined;
  /** A terminal to give to the guest's console when everything else is done. */
  readonly shell?: GuestTerminal | undefined;
  readonly signal: AbortSignal;
  readonly onEvent: (event: GuestEvent) => void;
}

/** What happens, in order. */
export type GuestEvent =
  /** A line about the preparation of the rig. */
  | { readonly type: 'rig'; readonly line: string }
  | { readonly type: 'starting'; readonly rig: GuestRig; readonly directory: string }
  | { readonly type: 'booted'; readonly ms: number }
  | { readonly type: 'probed'; readonly ms: number; readonly devices: readonly GuestDevice[] }
  /** A line of the exerciser. */
  | { readonly type: 'exercise'; readonly device: GuestDevice; readonly line: string }
  | { readonly type: 'shell' }
  | { readonly type: 'server'; readonly event: ServeEvent };

/** What came of it. */
export interface GuestResult {
  /** True when every VF was probed, no case failed, and the kernel log has nothing unexpected. */
  readonly ok: boolean;
  readonly platform: PlatformName;
  readonly smp: number;
  readonly memory: number;
  readonly qemuVersion: string;
  readonly kernelRelease: string;
  /** Times in ms; boot from the start of QEMU on, probe that of xe's insmod. */
  readonly times: {
    readonly prepareMs: number;
    readonly bootMs: number;
    readonly probeMs: number;
    readonly exerciseMs: number | undefined;
  };
  readonly devices: readonly GuestDevice[];
  /** One result a VF. */
  readonly exercises: readonly (ExerciseResult & { readonly address: string })[];
  readonly kernelLog: LogFindings & { readonly path: string };
  /** What each VF was made to do, by VF. */
  readonly counters: readonly (CounterSnapshot & { readonly vfid: number })[];
}

/**
 * Boots a guest, and reports.
 *
 * @throws {Fault} EINVAL for settings that make no sense; what {@link prepareRig} throws; ETIMEDOUT or
 * ENODEV when the guest does not boot or ends early; ECANCELED when `signal` ended it
 */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  const { signal, onEvent } = options;
  const platform = platformByName(options.platform);
  const vfids = Array.from({ length: options.vfs }, (_, n) => n + 1);
  if (vfids.length < 1 || vfids.length > MAX_GUEST_VFS)
    throw new Fault('EINVAL', `a guest takes 1 to ${MAX_GUEST_VFS} VFs, not ${options.vfs}`);
  const startedAt = performance.now();
  const rig = await prepareRig((line) => onEvent({ type: 'rig', line }));
  const exerciser = options.exercise === undefined ? undefined : await prepareExerciser(rig);
  const prepareMs = performance.now() - startedAt;

  const directory = await mkdtemp(join(shortTmpdir(), 'xe-vfio-guest-'));
  onEvent({ type: 'starting', rig, directory });
  const kernelLog = join(directory, KERNEL_LOG);
  const socketOf = (vfid: number) => join(directory, `vf${vfid}.sock`);
  const host = await ServedHost.start({
    platform: platform.name,
    vfs: vfids.length,
    vramSize: options.vramSize ?? defaultVram(platform, vfids.length),
    sockets: vfids.map((vfid) => ({ vfid, path: socketOf(vfid) })),
  }).catch(async (error: unknown) => {
    await rmdir(directory);
    throw error;
  });
  host.events.on((event) => onEvent({ type: 'server', event }));
  let session: GuestSession | undefined;
  const cancel = () => void session?.kill();
  try {
    const smp = options.smp ?? DEFAULT_GUEST_SMP;
    const memory = options.memory ?? DEFAULT_GUEST_MEMORY;
    session = await GuestSession.start({
      rig,
      directory,
      vfSockets: vfids.map(socketOf),
      discrete: platform.discrete,
      smp,
      memory,
      files: exerciser === undefined ? [] : [{ path: GUEST_PATH.EXERCISER, from: exerciser }],
      moduleArgs: options.drmDebug === undefined ? {} : { drm: `debug=${options.drmDebug}` },
    });
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    const work = await useGuest(session, options);
    const text = await session.dmesgText();
    await writeFile(kernelLog, `${text}\n`);
    const counters = await Promise.all(
      vfids.map(async (vfid) => ({ vfid, ...(await host.ask({ op: 'counters', vfid })) })),
    );
    await session.powerOff();
    const addresses = work.devices.map(({ address }) => address);
    const findings = judgeKernelLog(parseKernelLog(text), addresses);
    return {
      ok: isGood(work, vfids.length) && findings.unexpected.length === 0,
      platform: platform.name,
      smp,
      memory,
      qemuVersion: rig.qemuVersion,
      kernelRelease: rig.kernelRelease,
      times: { ...work.times, prepareMs },
      devices: work.devices,
      exercises: work.exercises,
      kernelLog: { ...findings, path: kernelLog },
      counters,
    };
  } catch (error) {
    const fault = signal.aborted
      ? new Fault('ECANCELED', 'the guest was called off', { cause: error })
      : error;
    throw session === undefined ? fault : await withConsoleLog(fault, session, kernelLog);
  } finally {
    signal.removeEventListener('abort', cancel);
    await session?.kill();
    await host.stop();
    for (const name of ['initramfs.cpio', 'console.sock', 'control.sock', 'console.log'])
      await rm(join(directory, name), { force: true });
    // What is left is the log; where there is none, nothing.
    await rmdir(directory).catch(() => {});
  }
}

/** Undefined stands for a fair share. */
function defaultVram({ discrete }: Platform, vfs: number): number | undefined {
  return discrete && vfs <= MOST_WITH_ENOUGH ? ENOUGH_VRAM : undefined;
}

interface GuestWork {
  readonly times: Omit<GuestResult['times'], 'prepareMs'>;
  readonly devices: readonly GuestDevice[];
  readonly exercises: GuestResult['exercises'];
}

async function useGuest(session: GuestSession, options: GuestOptions): Promise<GuestWork> {
  const { onEvent, exercise, shell } = options;
  const bootMs = await session.waitBoot();
  onEvent({ type: 'booted', ms: bootMs });
  const { probeMs, devices } = await session.waitProbe();
  onEvent({ type: 'probed', ms: probeMs, devices });
  const exercises: (ExerciseResult & { address: string })[] = [];
  let exerciseMs: number | undefined;
  if (exercise !== undefined) {
    await session.mark('exercise');
    const startedAt = performance.now();
    for (const device of devices) {
      if (device.renderNode === undefined) continue;
      const onLine = (line: string) => onEvent({ type: 'exercise', device, line });
      const result = await runExerciser(session, device.renderNode, exercise, onLine);
      exercises.push({ address: device.address, ...result });
    }
    exerciseMs = performance.now() - startedAt;
  }
  if (shell !== undefined) {
    onEvent({ type: 'shell' });
    await guestShell(session, shell);
  }
  return { times: { bootMs, probeMs, exerciseMs }, devices, exercises };
}

function isGood({ devices, exercises }: GuestWork, vfs: number): boolean {
  const usable = devices.filter((each) => each.driver === 'xe' && each.renderNode !== undefined);
  return usable.length === vfs && exercises.every(({ ok }) => ok);
}

/** What the console showed is all that is left of a guest that ended early: it is kept, and named. */
async function withConsoleLog(
  error: unknown,
  session: GuestSession,
  path: string,
): Promise<unknown> {
  const text = await readFile(session.consoleLog, 'utf8').catch(() => '');
  await writeFile(path, text.replaceAll('\r', ''));
  if (!(error instanceof Fault) || error.hint !== undefined) return error;
  return new Fault(error.code, error.message, {
    cause: error,
    hint: `what the guest's console showed is in ${path}`,
  });
}

function shortTmpdir(): string {
  const directory = tmpdir();
  return directory.length <= LONGEST_TMPDIR ? directory : '/tmp';
}
