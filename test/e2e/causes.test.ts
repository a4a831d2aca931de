import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dataView } from '../../src/base/int.ts';
import {
  decodePacketHeader,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
} from '../../src/xe/migration-packet.ts';
import { Cli, endAll, lastDocument, runCli, serve } from './cli.ts';
import { makeDirectory, removeDirectory } from './vf-under-test.ts';

const PTL = ['--platform', 'ptl', '--ggtt', '64K'];
const TARGET = ['--device', '8086:b080', '--revision', '4', '--ggtt', '64K', '--vram', '0'];

const directory = makeDirectory();
const path = (name: string) => join(directory, name);
let server: Cli;
let stream: Buffer;

beforeAll(async () => {
  server = await serve(path('ptl.sock'), PTL);
  await runCli(['save', path('ptl.sock'), path('stream'), '--raw', '--resume']);
  stream = readFileSync(path('stream'));
});

afterAll(async () => {
  await endAll();
  removeDirectory(directory);
});

/** Lines of the server's log. */
function logged({ stderr }: Cli): Array<Record<string, unknown>> {
  const lines = stderr
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Where the packets of the stream begin. */
function packetOffsets(): number[] {
  const offsets: number[] = [];
  for (let at = 0; at < stream.length; ) {
    offsets.push(at);
    at += PACKET_HEADER_SIZE + decodePacketHeader(dataView(stream), at).size;
  }
  return offsets;
}

/** The stream with one byte of the header of its second but last packet set. */
function withHeaderByte(field: number, value: number): Buffer {
  const bytes = Buffer.from(stream);
  bytes[(packetOffsets().at(-2) ?? 0) + field] = value;
  return bytes;
}

// The tool hears reason and place from the server, not an errno alone; its report to the server
// says the same, and so does `verify` without a server.
test.each([
  ['another version', () => withHeaderByte(0, 2), 'EINVAL'],
  ['type 0', () => withHeaderByte(1, 0), 'EINVAL'],
  ['VRAM for an integrated part', () => withHeaderByte(1, PACKET_TYPE.VRAM), 'ENXIO'],
  ['a GT that is not there', () => withHeaderByte(3, 2), 'EINVAL'],
  ['a size that is too great', () => withHeaderByte(17, 1), 'EINVAL'],
  ['another revision', () => withDescriptorRevision(5), 'ENODEV'],
  ['data after the trailer', () => Buffer.concat([stream, stream]), 'EINVAL'],
  ['no trailer', () => stream.subarray(0, -PACKET_HEADER_SIZE), 'ETIMEDOUT'],
])(
  'a restore of a stream with %s names packet and cause on both ends',
  async (_, damage, errno) => {
    writeFileSync(path('damaged'), damage());
    const verified = lastDocument(await runCli(['verify', path('damaged'), '--json', ...TARGET]));
    expect(verified).toMatchObject({ ok: false, errno });
    const ended = await runCli(['restore', '--raw', path('damaged'), path('ptl.sock'), '--json']);
    expect(ended.code).toBe(6);
    const told = lastDocument(ended) as { errno: string; reason: string };
    expect(told).toMatchObject({ ok: false, errno, role: 'target', target: 'reset' });
    expect(told.reason).toContain(verified['reason']);
    const report = await server.until('report', () =>
      logged(server).find(({ reason }) => reason === told.reason),
    );
    expect(report).toMatchObject({ msg: 'migration rolled back', errno, role: 'target', vfid: 1 });
  },
);

function withDescriptorRevision(revision: number): Buffer {
  const bytes = Buffer.from(stream);
  bytes.writeUInt32LE(revision, PACKET_HEADER_SIZE + 12);
  return bytes;
}

test('a migration that one end refuses is logged by both', async () => {
  const [a, b] = [join(directory, 'a.sock'), join(directory, 'b.sock')];
  const source = await serve(a, PTL);
  const target = await serve(b, PTL);
  const env = { XE_VFIO_TEST_PAUSE_AT: 'load' };
  const tool = new Cli(['migrate', a, b, '--json'], { env });
  await tool.until('pause', () => tool.stderr.includes('paused before load'));
  await tool.kill('SIGINT');
  const { reason } = lastDocument({ stdout: tool.stdout }) as { reason: string };
  for (const end of [source, target])
    await end.until('report', () => logged(end).some((line) => line['reason'] === reason));
});
