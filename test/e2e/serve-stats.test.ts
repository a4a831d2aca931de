import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { connectVf } from '../../src/app/vf-connection.ts';
import { VfioUserClient } from '../../src/vfio-user/client.ts';
import { VF_REGISTERS } from '../../src/xe/registers.ts';
import { Cli, endAll, serve } from './cli.ts';
import { makeDirectory, removeDirectory } from './vf-under-test.ts';

const directory = makeDirectory();

afterEach(endAll);
afterAll(() => removeDirectory(directory));

const isStats = ({ event }: Record<string, unknown>) => event === 'stats';

test('shows the counters of each VF on SIGUSR1 and at the end', async () => {
  const pattern = join(directory, '%d.sock');
  const args = ['--platform', 'ptl', '--vfs', '2', '--vf', 'all', '--stats'];
  const server = await serve(pattern, args);
  const vf = await connectVf(join(directory, '1.sock'));
  await vf.close();
  server.signal('SIGUSR1');
  await server.until('counters', () => server.documents.filter(isStats).length === 2);
  const ended = await server.kill('SIGTERM');
  expect(ended.code).toBe(0);
  const stats = server.documents.filter(isStats);
  expect(stats.map(({ vfid }) => vfid)).toEqual([1, 2, 1, 2]);
  for (const each of stats)
    expect(each).toMatchObject({
      schema: 1,
      registers: {},
      accesses: { reads: 0, writes: 0 },
      gucMessages: { mailbox: {}, H2G: {}, G2H: {} },
    });
});

test('shows tables to people', async () => {
  const socket = join(directory, 'text.sock');
  const server = new Cli(['serve', '--socket', socket, '--platform', 'ptl', '--stats']);
  await server.until('ready', () => server.stdout.startsWith('ready: '));
  const { stdout } = await server.kill('SIGINT');
  expect(stdout).toMatch(/^VF 1\naccesses +reads +writes\nall +0 +0\ncopied 0 B$/m);
});

test('are told to a tool while a VMM uses the VF', async () => {
  const socket = join(directory, 'asked.sock');
  await serve(socket, ['--platform', 'ptl']);
  const vmm = await VfioUserClient.connect(socket);
  // Memory decoding on.
  vmm.regionWrite(7, 4, new Uint8Array([0x06, 0x00]), 0, 2);
  const read = (times: number) => {
    const bytes = new Uint8Array(4);
    for (let n = 0; n < times; n++)
      vmm.regionRead(0, VF_REGISTERS.VF_CAP_REG.offset, bytes, 0, bytes.length);
  };
  read(3);
  const asked = await new Cli(['stats', socket, '--json']).ended;
  expect(asked.code).toBe(0);
  expect(JSON.parse(asked.stdout)).toMatchObject({
    schema: 1,
    event: 'stats',
    socket,
    vfid: 1,
    registers: { VF_CAP_REG: { reads: 3, writes: 0 } },
    accesses: { reads: 3, writes: 0 },
  });

  // People are shown all of it first, then what is new.
  const watching = new Cli(['stats', socket, '--watch']);
  await watching.until('totals', () => /^VF_CAP_REG +3 +0$/m.test(watching.stdout));
  read(2);
  await watching.until('what is new', () => /^VF_CAP_REG +2 +0$/m.test(watching.stdout));
  expect((await watching.kill('SIGINT')).code).toBe(0);
  await vmm.close();
});

test('are not there where nobody serves', async () => {
  const { code, stderr } = await new Cli(['stats', join(directory, 'none.sock')]).ended;
  expect(code).toBe(3);
  expect(stderr).toMatch(/^error: stats of .*none\.sock failed\ncause: ENOENT /);
});
