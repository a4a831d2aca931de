/** `xe-vfio inspect FILE`: what is in this stream or checkpoint? */
import { type Command, InvalidArgumentError } from 'commander';
import {
  type Inspection,
  inspectFile,
  inspectPacket,
  type PacketBytes,
} from '../../app/inspect.ts';
import { PROFILE_FIELDS, profileText } from '../../app/profile-text.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { EXIT, UsageFault } from '../exit-codes.ts';
import { hexDump } from '../hex-dump.ts';
import { integerOption, sizeOption } from '../options.ts';
import { Progress } from '../progress.ts';
import { formatFields, formatTable } from '../table.ts';

interface Options {
  readonly packet?: number;
  readonly hex?: boolean;
  readonly limit: number;
  readonly rows: number;
}

type Klvs = NonNullable<PacketBytes['klvs']>;

/** Gives `inspect` its arguments, options and action. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<file>', 'checkpoint, or plain stream')
    .option('--rows <N>', 'packets that are listed', integerOption(1), 1000)
    .option('--packet <N>', 'show one packet (the first is 0)', integerOption(0))
    .option('--hex', "show that packet's bytes")
    .option('--limit <SIZE>', 'bytes of payload that --hex shows', limitOption, 4096)
    .action((file: string, options: Options) => run(file, options, context));
  examples(command, [
    'xe-vfio inspect vm.xevf',
    'xe-vfio inspect stream.bin --packet 4 --hex --limit 256',
    'xe-vfio inspect vm.xevf --json | jq \'.packets[] | select(.type == "VRAM")\'',
  ]);
  command.addHelpText(
    'after',
    '\nA broken stream is shown as far as it goes; then the place and the cause follow, and the\n' +
      'exit code is 6. Offsets count from the start of the stream; `resource offset` is where the\n' +
      'payload belongs in its resource.',
  );
}

/** More than this is for `dd`. */
const LIMIT_MAX = 64 * 2 ** 20;

function limitOption(text: string): number {
  const limit = sizeOption(text);
  if (limit > LIMIT_MAX) throw new InvalidArgumentError('At most 64M can be shown.');
  return limit;
}

async function run(file: string, options: Options, context: CommandContext): Promise<void> {
  context.doing = `inspect of ${file}`;
  if (options.hex === true && options.packet === undefined)
    throw new UsageFault('--hex shows one packet, and none is named', 'add --packet N');
  if (options.packet === undefined) await runAll(file, options.rows, context);
  else await runPacket(file, options.packet, options, context);
}

async function runAll(file: string, rows: number, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  const progress = new Progress(output.stderr);
  progress.phase('inspect');
  let inspection: Inspection;
  try {
    const onProgress = (bytes: number, total: number) => progress.update(bytes, total);
    inspection = await inspectFile(file, rows, { signal, onProgress });
  } finally {
    progress.close();
  }
  const { stopped, ...rest } = inspection;
  if (stopped === undefined) {
    output.result({ ok: true, ...rest }, () => describe(file, inspection));
    return;
  }
  context.exitCode = EXIT.INCOMPATIBLE;
  const said = { ...stopped, hint: `xe-vfio inspect ${file} --packet ${stopped.packet} --hex` };
  output.result({ ok: false, ...said, ...rest }, () => describe(file, inspection));
  if (!output.json)
    output.refusal(`${file} is broken at packet ${stopped.packet}, byte ${stopped.offset}`, said);
}

function describe(file: string, inspection: Inspection): string[] {
  const { header, packets, omitted, resources, descriptors, bytes, fileBytes } = inspection;
  const lines = formatFields([
    ['file', file],
    ['format', inspection.format],
    ['size', exactSize(fileBytes)],
    ['stream', `${exactSize(bytes)} in ${packets.length + omitted} packets`],
    ...profileFields(header),
  ]);
  for (const { packet, klvs } of descriptors)
    lines.push('', `descriptor, packet ${packet}`, ...formatFields(klvFields(klvs)));
  const rows = packets.map(({ size, resourceOffset, present, zeros, ...row }) => [
    String(row.packet),
    String(row.offset),
    row.type,
    String(row.tile),
    String(row.gt),
    resourceOffset === null ? 'above 2^53' : hex(resourceOffset),
    size === null ? 'above 2^53' : formatSize(size),
    present === 0 ? '-' : `${Math.floor((100 * zeros) / present)} %`,
  ]);
  if (rows.length > 0) lines.push('', ...formatTable(PACKET_COLUMNS, rows));
  if (omitted > 0) lines.push(`and ${omitted} more packets (--rows N lists more)`);
  const totals = resources.map(({ resource, tile, gt, packets, bytes }) => [
    resource,
    String(tile),
    String(gt),
    String(packets),
    formatSize(bytes),
  ]);
  if (totals.length > 0) lines.push('', ...formatTable(TOTAL_COLUMNS, totals));
  return lines;
}

const PACKET_COLUMNS = [
  { title: 'packet', align: 'right' },
  { title: 'offset', align: 'right' },
  { title: 'type' },
  { title: 'tile', align: 'right' },
  { title: 'GT', align: 'right' },
  { title: 'resource offset', align: 'right' },
  { title: 'size', align: 'right' },
  { title: 'zero', align: 'right' },
] as const;

const TOTAL_COLUMNS = [
  { title: 'total' },
  { title: 'tile', align: 'right' },
  { title: 'GT', align: 'right' },
  { title: 'packets', align: 'right' },
  { title: 'payload', align: 'right' },
] as const;

function profileFields(header: Inspection['header']): [string, string][] {
  if (header === undefined) return [];
  const fields: [string, string][] = [];
  if (header.createdAt !== undefined)
    fields.push(['createdAt', new Date(header.createdAt).toISOString()]);
  for (const field of PROFILE_FIELDS) {
    const text = profileText(header.profile, field);
    if (text !== undefined) fields.push([field, text]);
  }
  return fields;
}

/** KLVs shown; only a hostile descriptor has more. */
const KLVS_MAX = 64;

function klvFields(klvs: Klvs): [string, string][] {
  const fields = klvs.slice(0, KLVS_MAX).map(({ key, name, value, cut }): [string, string] => {
    const title = name === 'UNKNOWN' ? `key ${hex(key)}` : name;
    return [`  ${title}`, `${value.map(hex).join(' ')}${cut ? ' (cut)' : ''}`];
  });
  if (klvs.length > KLVS_MAX) fields.push(['  ...', `${klvs.length - KLVS_MAX} more`]);
  return fields;
}

async function runPacket(
  file: string,
  packet: number,
  { hex: withHex = false, limit }: Options,
  { output }: CommandContext,
): Promise<void> {
  const { row, klvs, header, payload } = await inspectPacket(file, packet, limit);
  const bytes = withHex
    ? {
        headerHex: Buffer.from(header).toString('hex'),
        payloadHex: Buffer.from(payload).toString('hex'),
        truncated: row.size === null || row.size > payload.length,
      }
    : {};
  output.result({ ok: true, packet: row, ...(klvs && { klvs }), ...bytes }, () => {
    const lines = formatFields([
      ['packet', String(row.packet)],
      ['offset', String(row.offset)],
      ['version', String(row.version)],
      ['type', row.type],
      ['tile', String(row.tile)],
      ['GT', String(row.gt)],
      ['flags', hex(row.flags)],
      ['resource offset', row.resourceOffset === null ? 'above 2^53' : hex(row.resourceOffset)],
      ['size', row.size === null ? 'above 2^53' : exactSize(row.size)],
    ]);
    if (klvs !== undefined) lines.push('', ...formatFields(klvFields(klvs)));
    if (!withHex) return lines;
    lines.push('', 'header', ...hexDump(header));
    if (payload.length > 0) lines.push('', 'payload', ...hexDump(payload));
    const rest = (row.size ?? 0) - payload.length;
    if (rest > 0) lines.push(`${rest} more bytes (--limit SIZE shows more of them)`);
    return lines;
  });
}

function exactSize(bytes: number): string {
  return bytes < 1024 ? formatSize(bytes) : `${formatSize(bytes)} (${bytes} bytes)`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
