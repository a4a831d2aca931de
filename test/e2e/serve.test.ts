import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { connectVf } from '../../src/app/vf-connection.ts';
import { Cli, endAll, lastDocument, runCli, serve } from './cli.ts';
import { makeDirectory, removeDirectory } from './vf-under-test.ts';

const directory = makeDirectory();
let count = 0;
const freshSocket = () => join(directory, `${count++}.sock`);

afterEach(endAll);
afterAll(() => removeDirectory(directory));

test.each([
  ['bmg', 0xe20b, ['--vram', '16M']],
  ['ptl', 0xb080, []],
  ['wcl', 0xfd80, []],
] as const)('serves a %s VF and says so', async (platform, deviceId, args) => {
  const socket = freshSocket();
  const server = await serve(socket, ['--platform', platform, ...args]);
  expect(server.documents).toEqual([
    expect.objectContaining({
      schema: 1,
      event: 'ready',
      socket,
      pid: server.pid,
      vfid: 1,
      platform,
      deviceId,
      vram: platform === 'bmg' ? 16 * 2 ** 20 : 0,
      migration: true,
    }),
  ]);
  expect(statSync(socket).mode & 0o777).toBe(0o600);
});

test.each(['SIGTERM', 'SIGINT'] as const)('ends cleanly on %s', async (signal) => {
  const socket = freshSocket();
  const server = await serve(socket, ['--platform', 'ptl']);
  const vf = await connectVf(socket);
  const ended = await server.kill(signal);
  expect(ended.code).toBe(0);
  expect(existsSync(socket)).toBe(false);
  await vf.close();
});

test('a second server on the socket is refused, the first one unharmed', async () => {
  const socket = freshSocket();
  const first = await serve(socket, ['--platform', 'ptl']);
  const second = await runCli(['serve', '--socket', socket, '--platform', 'ptl']);
  expect(second.code).toBe(5);
  expect(second.stderr).toMatch(/^error: serve on .*\ncause: EADDRINUSE .*\nhint: /);
  const vf = await connectVf(socket);
  expect(vf.served?.profile).toMatchObject({ platform: 'ptl', deviceId: 0xb080 });
  await vf.close();
  expect((await first.kill('SIGTERM')).code).toBe(0);
});

test('the socket of a dead server is replaced, a file is not', async () => {
  const socket = freshSocket();
  const dead = await serve(socket, ['--platform', 'ptl']);
  await dead.kill('SIGKILL');
  expect(existsSync(socket)).toBe(true);
  const next = await serve(socket, ['--platform', 'ptl']);
  expect((await next.kill('SIGTERM')).code).toBe(0);
  writeFileSync(socket, 'mine');
  expect((await runCli(['serve', '--socket', socket, '--platform', 'ptl'])).code).toBe(5);
  expect(existsSync(socket)).toBe(true);
});

test('serves several VFs of one PF, each on a socket of its own', async () => {
  const pattern = join(directory, 'all-%d.sock');
  const server = await serve(pattern, ['--platform', 'ptl', '--vfs', '3', '--vf', 'all']);
  await server.until('all', () => server.documents.length === 3);
  expect(server.documents.map(({ vfid }) => vfid)).toEqual([1, 2, 3]);
  for (const vfid of [1, 2, 3]) {
    const vf = await connectVf(join(directory, `all-${vfid}.sock`));
    expect(vf.served?.vfid).toBe(vfid);
    await vf.close();
  }
});

test('takes --socket-path and quotas, and tells them to a tool', async () => {
  const socket = freshSocket();
  const quotas = ['--ggtt', '64M', '--contexts', '128', '--doorbells', '4', '--revision', '3'];
  const server = new Cli(['serve', '--socket-path', socket, '--vram', '4M', ...quotas]);
  await server.until('ready', () => server.stdout.includes('ready: VF 1'));
  const vf = await connectVf(socket);
  expect(vf.profile).toMatchObject({
    ggttSize: 64 * 2 ** 20,
    vramSize: 4 * 2 ** 20,
    contexts: 128,
    doorbells: 4,
    revisionId: 3,
  });
  await vf.close();
});

test('a VF with old firmware is served, but cannot be migrated', async () => {
  const socket = freshSocket();
  const server = await serve(socket, ['--platform', 'ptl', '--guc-version', '70.53.0']);
  expect(server.documents[0]).toMatchObject({ migration: false });
  const ended = await runCli(['save', socket, join(directory, 'old.xevf'), '--json']);
  expect(ended.code).toBe(5);
  expect(lastDocument(ended)).toMatchObject({ ok: false, errno: 'ENOTTY' });
});

test.each([
  [['--platform', 'bmg'], 2],
  [['--socket', 'x', '--vf', '2'], 2],
  [['--socket', 'x', '--vf', 'none'], 2],
  [['--socket', 'x', '--vfs', '64'], 2],
  [['--socket', 'x', '--pf', '0000:03:00.0', '--platform', 'bmg'], 2],
  [['--socket', 'x', '--pf', '0000:03:00.0', '--vram', '1G'], 2],
  [['--socket', 'x', '--pf', 'nonsense'], 1],
  [['--socket', 'x', '--pf', 'ffff:03:00.0', '--vf', 'all'], 3],
  [['--socket', 'x', '--socket-path', 'x'], 2],
  [['--socket', 'x', '--vfs', '2', '--vf', 'all'], 1],
  [['--socket', 'x', '--platform', 'dg2'], 1],
  [['--socket', 'x', '--platform', 'ptl', '--vram', '1G'], 4],
  [['--socket', 'x', '--vram', '64T'], 1],
  [['--socket', '/no/such/directory/x.sock'], 3],
] as const)('refuses %j with %i', async (args, code) => {
  const ended = await runCli(['serve', ...args]);
  expect(ended).toMatchObject({ code, stdout: '' });
  expect(ended.stderr).toMatch(/^error: .*\ncause: .*\nhint: .*\n$/);
});

test('serves on a listening socket that it inherits', async () => {
  const socket = freshSocket();
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(socket, resolve));
  const { fd } = (listener as unknown as { _handle: { fd: number } })._handle;
  const server = new Cli(['serve', '--platform', 'ptl', '--fd', '3', '--json'], { fd3: fd });
  listener.close();
  await server.until('ready', () => server.stdout.includes('"event":"ready"'));
});
