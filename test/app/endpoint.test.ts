import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { filePath, parseEndpoint, socketPath } from '../../src/app/endpoint.ts';

const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-endpoint-'));
const file = join(directory, 'file');
const socket = join(directory, 'socket');
let server: Server;

beforeAll(async () => {
  writeFileSync(file, '');
  server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});

afterAll(() => {
  server.close();
  rmSync(directory, { recursive: true });
});

describe('parseEndpoint', () => {
  test('takes what a scheme says, whether it is there or not', async () => {
    expect(await parseEndpoint('vfio-user:/no/such')).toEqual({
      kind: 'vfio-user',
      path: '/no/such',
    });
    expect(await parseEndpoint('file:a:b')).toEqual({ kind: 'file', path: 'a:b' });
  });

  test('takes a bare path for what is there', async () => {
    expect(await parseEndpoint(file)).toEqual({ kind: 'file', path: file });
    expect(await parseEndpoint(socket)).toEqual({ kind: 'vfio-user', path: socket });
  });

  test('takes a bare path to nothing for what it is told', async () => {
    const path = join(directory, 'nothing');
    expect(await parseEndpoint(path, 'file')).toEqual({ kind: 'file', path });
    await expect(parseEndpoint(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test.each([
    ['vfio:0000:03:00.1', 'ENOSYS'],
    ['file:', 'EINVAL'],
    ['', 'EINVAL'],
    [directory, 'EINVAL'],
    ['/dev/null', 'EINVAL'],
  ])('refuses %j with %s', async (text, code) => {
    await expect(parseEndpoint(text)).rejects.toMatchObject({ code });
  });
});

test('a file is no socket, and a socket no file', () => {
  expect(socketPath({ kind: 'vfio-user', path: 'x' })).toBe('x');
  expect(filePath({ kind: 'file', path: 'x' })).toBe('x');
  expect(() => socketPath({ kind: 'file', path: 'x' })).toThrow(/not a served VF/);
  expect(() => filePath({ kind: 'vfio-user', path: 'x' })).toThrow(/not a file/);
});
