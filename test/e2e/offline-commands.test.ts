/** `inspect`, `verify` and `diff` as processes. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CheckpointWriter } from '../../src/migration/checkpoint-writer.ts';
import {
  bmgPackets,
  goldenPath,
  goldenTarget,
  manifest,
  packetBytes,
  pattern,
  streamBytes,
} from '../support/stream-builder.ts';
import { Cli, endAll, lastDocument, runCli } from './cli.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'xe-vfio-offline-'));
});
afterEach(endAll);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function vector(name: string) {
  const found = manifest.vectors.find((candidate) => candidate.name === name);
  if (found === undefined) throw new RangeError(`no golden stream ${name}`);
  return found;
}

/** The options that name the VF of a golden stream. */
function targetOptions(device: 'ptl' | 'bmg'): string[] {
  const { deviceId, revisionId, ggttSize, vramSize, gucStateSizes } = goldenTarget(device);
  return [
    ...['--device', `8086:${deviceId.toString(16)}`, '--revision', String(revisionId)],
    ...['--ggtt', String(ggttSize), '--vram', String(vramSize)],
    ...['--guc-state', gucStateSizes.join(',')],
  ];
}

/** A stream of zeros whose VRAM is `vram` bytes, of which the disk holds next to none. */
function sparseStream(name: string, vram: number): string {
  const path = join(folder, name);
  const [before, after] = [bmgPackets([]).slice(0, 4), bmgPackets([]).slice(4)];
  const head = Buffer.concat([streamBytes(before), packetBytes({ type: 6, size: vram })]);
  const fd = openSync(path, 'w');
  writeSync(fd, head);
  ftruncateSync(fd, head.length + vram);
  writeSync(fd, streamBytes(after), 0, undefined, head.length + vram);
  closeSync(fd);
  return path;
}

/** Waits until a process has a file open. */
async function untilOpen(cli: Cli, path: string): Promise<void> {
  await cli.until(`open ${path}`, () =>
    readdirSync(`/proc/${cli.pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${cli.pid}/fd/${fd}`) === path;
      } catch {
        return false;
      }
    }),
  );
}

describe('verify', () => {
  it.each([
    ['ptl_min', true, {}],
    ['bmg_min', true, {}],
    ['bmg_vram_missing', true, { warnings: [{ kind: 'missing' }] }],
    ['ptl_two_trailers', false, { errno: 'EINVAL', offset: 440, packet: 7 }],
    ['guc_wrong_size', false, { errno: 'EIO', offset: 320, packet: 4 }],
    ['cut_in_header', false, { errno: 'ETIMEDOUT', offset: 280, packet: 3 }],
    ['empty_stream', false, { errno: 'ETIMEDOUT', offset: 0, packet: 0 }],
  ])('gives %s its verdict', async (name, ok, fields) => {
    const { device } = vector(name);
    const ended = await runCli([
      'verify',
      goldenPath(vector(name)),
      ...targetOptions(device),
      '--json',
    ]);
    expect(lastDocument(ended)).toMatchObject({ schema: 1, ok, ...fields });
    expect([ended.code, ended.stderr]).toEqual([ok ? 0 : 6, '']);
  });

  it('takes a checkpoint by its own header, and finds it altered', async () => {
    const path = join(folder, 'vm.xevf');
    const profile = {
      platform: 'bmg',
      deviceId: 0xe20b,
      revisionId: 0,
      ggttSize: 65536,
      vramSize: 8192,
    };
    const writer = await CheckpointWriter.create(path, { profile });
    await writer.write(streamBytes(bmgPackets()));
    await writer.finish();
    const good = await runCli(['verify', path, '--json']);
    expect(lastDocument(good)).toMatchObject({
      ok: true,
      format: 'checkpoint',
      device: { from: 'checkpoint', platform: 'bmg' },
      unchecked: ['the GuC state was not judged: its size is the business of firmware'],
    });
    const altered = join(folder, 'altered.xevf');
    copyFileSync(path, altered);
    const bytes = readFileSync(altered);
    bytes.writeUInt8(bytes.readUInt8(4096 + 1000) ^ 1, 4096 + 1000);
    writeFileSync(altered, bytes);
    const bad = await runCli(['verify', altered]);
    expect([bad.code, bad.stdout]).toEqual([6, '']);
    expect(bad.stderr).toBe(
      `error: ${altered} is refused at packet 4, byte 320 (byte 4416 of the file)\n` +
        'cause: EBADMSG the VRAM packet of GT 0 was altered after it was saved: its CRC does not match\n' +
        `hint: xe-vfio inspect ${altered}\n`,
    );
  });

  it('needs little memory, however large the file is', async () => {
    const path = sparseStream('large.bin', 2 ** 29);
    const cli = new Cli(['verify', path, '--json']);
    await untilOpen(cli, path);
    let peakKib = 0;
    const sample = setInterval(() => {
      try {
        const status = readFileSync(`/proc/${cli.pid}/status`, 'utf8');
        peakKib = Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? peakKib);
      } catch {
        // It has ended.
      }
    }, 10);
    const ended = await cli.ended;
    clearInterval(sample);
    expect(lastDocument(ended)).toMatchObject({ ok: true, bytes: 2 ** 29 + 464 });
    expect(peakKib).toBeGreaterThan(0);
    expect(peakKib).toBeLessThan(256 * 1024);
  });

  it('is called off by SIGINT and exits with 7', async () => {
    const path = sparseStream('endless.bin', 2 ** 36);
    const cli = new Cli(['verify', path, '--json']);
    await untilOpen(cli, path);
    const ended = await cli.kill('SIGINT');
    expect([ended.code, ended.signal]).toEqual([7, null]);
    expect(lastDocument(ended)).toMatchObject({ schema: 1, ok: false, errno: 'ECANCELED' });
  });
});

describe('inspect', () => {
  it('goes through a broken stream as far as it goes, and exits with 6', async () => {
    const path = goldenPath(vector('mmio_short'));
    const text = await runCli(['inspect', path]);
    expect(text.code).toBe(6);
    expect(text.stdout).toMatch(/^ +2 +128 +GGTT +0 +0 +0x0 +128 B +\d+ %$/m);
    expect(text.stderr).toBe(
      `error: ${path} is broken at packet 3, byte 280\n` +
        'cause: EINVAL MMIO size 12 is not 16\n' +
        `hint: xe-vfio inspect ${path} --packet 3 --hex\n`,
    );
    const json = lastDocument(await runCli(['inspect', path, '--json']));
    expect(json).toMatchObject({ schema: 1, ok: false, errno: 'EINVAL', offset: 280, packet: 3 });
    expect(json['packets']).toHaveLength(4);
    const hex = await runCli(['inspect', path, '--packet', '3', '--hex']);
    expect(hex.code).toBe(0);
    expect(hex.stdout).toContain('00000010  0c 00 00 00 00 00 00 00 ');
  });

  it('ends quietly when its reader has seen enough', () => {
    const path = join(folder, 'many.bin');
    const many = Array.from({ length: 20_000 }, () => ({ type: 9, payload: pattern(4) }));
    writeFileSync(path, streamBytes([...many, { type: 2 }]));
    const bin = fileURLToPath(new URL('../../bin/xe-vfio', import.meta.url));
    const errors = join(folder, 'errors');
    const script = '"$1" "$2" inspect "$3" --rows 20000 2>"$4" | head -n 1';
    const words = ['-c', script, 'sh', process.execPath, bin, path, errors];
    const out = execFileSync('/bin/sh', words, { encoding: 'utf8' });
    expect(readFileSync(errors, 'utf8')).toBe('');
    expect(out).toBe(`file    ${path}\n`);
  });
});

describe('diff', () => {
  it('exits with 0 for equal, 1 for different, 6 for broken and 3 for missing', async () => {
    const [min, order, bmg] = ['ptl_min', 'ptl_mmio_before_guc', 'bmg_min'].map((name) =>
      goldenPath(vector(name)),
    );
    const [a, b, c] = [min ?? '', order ?? '', bmg ?? ''];
    expect(await runCli(['diff', a, b])).toMatchObject({ code: 0, stdout: 'equal\n', stderr: '' });
    const different = await runCli(['diff', a, c]);
    expect(different).toMatchObject({ code: 1, stderr: '' });
    expect(different.stdout).toContain('DESCRIPTOR DEVID: 0xb080, 0xe20b\n');
    expect(different.stdout).toContain('VRAM GT 0 0x0-0x1fffff: only in B\n');
    expect((await runCli(['diff', a, goldenPath(vector('no_trailer'))])).code).toBe(6);
    expect((await runCli(['diff', a, join(folder, 'none')])).code).toBe(3);
  });

  it('compares VRAM however it was cut into chunks', async () => {
    const bytes = pattern(3 * 2 ** 20);
    const chunks = (...sizes: number[]) => {
      let at = 0;
      const packets = sizes.map((size) => {
        const packet = { type: 6, offset: at, payload: bytes.subarray(at, at + size) };
        at += size;
        return packet;
      });
      return streamBytes([...packets, { type: 2 }]);
    };
    const paths = [join(folder, 'one'), join(folder, 'three')] as const;
    writeFileSync(paths[0], chunks(3 * 2 ** 20));
    writeFileSync(paths[1], chunks(2 ** 20, 5, 2 * 2 ** 20 - 5));
    expect(await runCli(['diff', ...paths])).toMatchObject({ code: 0, stdout: 'equal\n' });
    const other = readFileSync(paths[1]);
    other.writeUInt8(0, other.length - 24 - 7);
    writeFileSync(paths[1], other);
    expect(lastDocument(await runCli(['diff', ...paths, '--json']))).toMatchObject({
      equal: false,
      differences: [
        { kind: 'range', resource: 'VRAM', gt: 0, start: 3145721, end: 3145722, differing: 1 },
      ],
    });
  });
});
