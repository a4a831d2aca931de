import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { connectVf } from '../../src/app/vf-connection.ts';
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
