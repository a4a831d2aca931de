import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deviceEndpoint, filePath, parseEndpoint } from '../../src/app/endpoint.ts';

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
    ['vfio:3.0', 'EINVAL'],
    ['vfio:', 'EINVAL'],
    ['file:', 'EINVAL'],
    ['', 'EINVAL'],
    [directory, 'EINVAL'],
    ['/dev/null', 'EINVAL'],
  ])('refuses %j with %s', async (text, code) => {
    await expect(parseEndpoint(text)).rejects.toMatchObject({ code });
  });
});

test.each([
  ['vfio:0000:03:00.1', '0000:03:00.1'],
  ['vfio:03:10.7', '0000:03:10.7'],
  ['vfio:83B8F4F2-509F-382F-3C1E-E6BFE0FA1001', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'],
])('takes %s for a device of the kernel', async (text, path) => {
  expect(await parseEndpoint(text)).toEqual({ kind: 'vfio', path });
});

test('a file is no device, and a device no file', () => {
  const socket = { kind: 'vfio-user', path: 'x' } as const;
  expect(deviceEndpoint(socket)).toEqual(socket);
  expect(() => filePath({ kind: 'vfio', path: 'x' })).toThrow(/is a device, not a file/);
  expect(filePath({ kind: 'file', path: 'x' })).toBe('x');
  expect(() => deviceEndpoint({ kind: 'file', path: 'x' })).toThrow(/not a served VF/);
  expect(() => filePath({ kind: 'vfio-user', path: 'x' })).toThrow(/not a file/);
});
