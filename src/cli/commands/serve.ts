import { type Command, InvalidArgumentError, Option } from 'commander';
import { enabledVfs } from '../../app/linux-host.ts';
import { ServedHost, type VfStatus } from '../../app/serve.ts';
import { answerParent } from '../../app/serve-ipc.ts';
import { PRECOPY_FINDS, type ServeSettings, serveVfs } from '../../app/serve-settings.ts';
import { type CommandContext, examples } from '../command.ts';
import { counterLines } from '../counter-output.ts';
import { UsageFault } from '../exit-codes.ts';
import {
  integerListOption,
  integerOption,
  MAX_EXEC_QUANTUM_MS,
  MAX_PREEMPT_TIMEOUT_US,
  rootOption,
  sizeOption,
} from '../options.ts';
import { logServer } from '../server-log.ts';

/** The greatest number of VFs that a PF can have. */
const MAX_VFS = 63;
/** More cores than that are not taken for looking for changes. */
const MAX_CORES = 64;

interface ServeFlags extends Omit<ServeSettings, 'served' | 'pfNames'> {
  readonly pfs?: readonly string[];
  readonly vf?: readonly (number | 'all')[];
  readonly socketPath?: string;
  readonly pf?: string;
  readonly takeover?: string;
  readonly stats?: true;
}

/** `serve`. */
export function define(command: Command, context: CommandContext): void {
  rootOption(command)
    .option('--platform <name>', 'the emulated GPU: ptl, wcl or bmg', 'bmg')
    .addOption(
      new Option('--pf <bdf>', 'a PF of this machine instead, such as 0000:03:00.0').conflicts([
        'platform',
        'vfs',
      ]),
    )
    .option('--vfs <count>', 'VFs to enable', integerOption(1, MAX_VFS), 1)
    .option(
      '--pfs <names>',
      'names of emulated PFs, parted by commas; the first is served, VFs can be re-homed to the others',
      namesOption,
    )
    .option('--vf <number>', 'VF to serve, or all; repeatable (default: 1)', vfOption)
    .option('--socket <path>', 'where to serve; for several VFs with %d for the number of the VF')
    .option('--socket-path <path>', 'the same as --socket')
    .option(
      '--fd <number>',
      'serve on a listening or connected socket inherited as this descriptor',
      integerOption(0),
    )
    .option('--vram <size>', 'VRAM of each VF, such as 1G', sizeOption)
    .option('--ggtt <size>', 'GGTT of each VF', sizeOption)
    .option('--contexts <count>', 'GuC contexts of each VF', integerOption(1))
    .option('--doorbells <count>', 'GuC doorbells of each VF', integerOption(0))
    .option(
      '--exec-quantum <ms>',
      "each VF's turn on the engines, ms; for VFs that differ one for each, parted by commas",
      integerListOption(MAX_EXEC_QUANTUM_MS),
    )
    .option(
      '--preempt-timeout <us>',
      'how long its contexts may take to leave them, microseconds; the same way',
      integerListOption(MAX_PREEMPT_TIMEOUT_US),
    )
    .option('--guc-version <version>', 'firmware that the GuCs claim to be, such as 70.54.0')
    .option('--device-id <id>', 'PCI device id, such as 0xe20b', integerOption(0, 0xffff))
    .option('--revision <number>', 'PCI revision', integerOption(0, 0xff))
    .option(
      '--poll-us <microseconds>',
      'look so long for the next message before sleeping',
      integerOption(0, 1_000_000),
    )
    .option(
      '--precopy-budget <percent>',
      'percent of a core that looking for changed VRAM may take while a VF is pre-copied (25)',
      integerOption(1, 100 * MAX_CORES),
    )
    .addOption(
      new Option(
        '--precopy-find <way>',
        "find VRAM that a processor changed by page tables, by digests of all of it, or by page tables where the VMM's mappings can be seen",
      )
        .choices(PRECOPY_FINDS)
        .default('auto'),
    )
    .option('--linux-flags', "exactly Linux's migration flags: no pre-copy")
    .option(
      '--takeover <socket>',
      'take the place of the server at this socket, with its clients; it then ends',
    )
    .option('--stats', 'show what each VF was made to do, at the end and on SIGUSR1')
    .action(async (flags: ServeFlags) => await run(flags, context));
  examples(command, [
    'xe-vfio serve --platform bmg --vram 1G --socket /run/vf1.sock',
    'xe-vfio serve --platform ptl --vfs 7 --vf all --socket /run/vf%d.sock',
    'xe-vfio serve --platform ptl --vfs 2 --vf all --exec-quantum 8,24 --socket /run/vf%d.sock',
    'xe-vfio serve --takeover /run/vf1.sock',
    'xe-vfio serve --pf 0000:03:00.0 --vf 1 --socket /run/vf1.sock',
  ]);
}

async function run(flags: ServeFlags, context: CommandContext): Promise<void> {
  const { takeover, pollUs } = flags;
  if (takeover !== undefined) {
    context.doing = `take-over of ${takeover}`;
    return await serve(await ServedHost.takeOver({ path: takeover, pollUs }), flags, context);
  }
  const socket = flags.socket ?? flags.socketPath;
  if (flags.socket !== undefined && flags.socketPath !== undefined)
    throw new UsageFault('--socket and --socket-path are the same thing; give one');
  if (socket === undefined && flags.fd === undefined)
    throw new UsageFault('neither --socket nor --fd was given');
  context.doing = `serve on ${socket ?? `descriptor ${flags.fd}`}`;
  const served = flags.pf === undefined ? servedVfs(flags) : await realVfs(flags, flags.pf);
  await serve(await serveVfs({ ...flags, pfNames: flags.pfs, socket, served }), flags, context);
}

async function serve(host: ServedHost, flags: ServeFlags, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  const show = async () => {
    if (flags.stats === true) await showStats(host, context);
  };
  const stop = () => void show().then(() => host.stop());
  logServer(host.events);
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  answerParent(host);
  announce(host, context);
  if (flags.stats === true) process.on('SIGUSR1', show);
  const failure = await host.ended;
  process.off('SIGUSR1', show);
  if (failure !== undefined) throw failure;
  output.note('stopped');
}

/** What each served VF was made to do so far; nothing when the server has ended meanwhile. */
async function showStats(host: ServedHost, { output }: CommandContext): Promise<void> {
  for (const { vfid } of host.vfs) {
    const snapshot = await host.ask({ op: 'counters', vfid }).catch(() => undefined);
    if (snapshot === undefined) return;
    output.result({ event: 'stats', vfid, ...snapshot }, () => [
      `VF ${vfid}`,
      ...counterLines(snapshot),
    ]);
  }
}

/** One line a VF: it is ready. */
function announce({ vfs }: ServedHost, { output }: CommandContext): void {
  for (const vf of vfs) {
    const { platform, deviceId = 0, revisionId, ggttSize, vramSize } = vf.profile;
    const document = {
      event: 'ready',
      socket: vf.path ?? null,
      pid: process.pid,
      vfid: vf.vfid,
      platform,
      pf: vf.pf ?? null,
      vendorId: 0x8086,
      deviceId,
      revision: revisionId,
      ggtt: ggttSize,
      vram: vramSize,
      migration: vf.state !== undefined,
      ...(vf.heldMs === undefined ? {} : { heldMs: vf.heldMs }),
    };
    output.result(document, () => [readyLine(vf)]);
  }
}

function readyLine({ vfid, path, pf, profile, state }: VfStatus): string {
  const id = `8086:${(profile.deviceId ?? 0).toString(16).padStart(4, '0')}`;
  const can = state === undefined ? ', cannot be migrated' : '';
  const whose = pf === undefined ? `an emulated ${profile.platform}` : pf;
  return `ready: VF ${vfid} of ${whose} (${id}) on ${path ?? 'a descriptor'}, pid ${process.pid}${can}`;
}

function namesOption(text: string): readonly string[] {
  const names = text.split(',');
  if (names.every((name) => /^[\w.:-]+$/.test(name)) && new Set(names).size === names.length)
    return names;
  throw new InvalidArgumentError(`"${text}" are not different names, parted by commas.`);
}

function vfOption(
  text: string,
  before: readonly (number | 'all')[] = [],
): readonly (number | 'all')[] {
  if (text === 'all') return [...before, 'all'];
  try {
    return [...before, integerOption(1, MAX_VFS)(text)];
  } catch {
    throw new InvalidArgumentError(`"${text}" is neither a VF, 1 to ${MAX_VFS}, nor all.`);
  }
}

/** What only an emulated GPU is told; a real one is provisioned. */
const EMULATED_ONLY: readonly (keyof ServeFlags)[] = [
  ...(['vram', 'ggtt', 'contexts', 'doorbells', 'execQuantum', 'preemptTimeout'] as const),
  ...(['gucVersion', 'deviceId', 'revision', 'stats', 'pfs'] as const),
];

/** The VFs to serve of a PF of this machine. */
async function realVfs(flags: ServeFlags, pf: string): Promise<readonly number[]> {
  for (const name of EMULATED_ONLY)
    if (flags[name] !== undefined)
      throw new UsageFault(
        `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is for an emulated GPU`,
        `xe-vfio provision ${pf} gives the VFs of a real one their share`,
      );
  const { vf = [1] } = flags;
  if (vf.includes('all')) return await enabledVfs({ pf, root: flags.root });
  return [...new Set(vf as readonly number[])];
}

function servedVfs({ vf = [1], vfs }: ServeFlags): number[] {
  const numbers = vf.includes('all')
    ? Array.from({ length: vfs }, (_, n) => n + 1)
    : [...new Set(vf as readonly number[])];
  const beyond = numbers.find((number) => number > vfs);
  if (beyond === undefined) return numbers;
  throw new UsageFault(`VF ${beyond} is beyond --vfs ${vfs}`, `--vfs ${beyond}`);
}
