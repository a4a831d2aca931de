import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lastDocument, runCli } from './cli.ts';
import { makeDirectory, removeDirectory, VfUnderTest } from './vf-under-test.ts';

const directory = makeDirectory();
const BMG = ['--platform', 'bmg', '--vram', '8M'];
const VARIANTS = {
  twin: BMG,
  smaller: ['--platform', 'bmg', '--vram', '4M'],
  other: [...BMG, '--device-id', '0xe20c', '--revision', '1', '--ggtt', '64M'],
  poorer: [...BMG, '--contexts', '64', '--doorbells', '2'],
  old: [...BMG, '--guc-version', '70.53.0'],
  newer: [...BMG, '--guc-version', '70.60.0'],
  integrated: ['--platform', 'ptl'],
} as const;
type Variant = keyof typeof VARIANTS;

const vfs = new Map<Variant, VfUnderTest>();
let source: VfUnderTest;

beforeAll(async () => {
  source = await VfUnderTest.start(join(directory, 'source.sock'), BMG);
  for (const [name, args] of Object.entries(VARIANTS))
    vfs.set(name as Variant, await VfUnderTest.start(join(directory, `${name}.sock`), args));
});

afterAll(async () => {
  await Promise.all([source, ...vfs.values()].map((vf) => vf?.stop()));
  removeDirectory(directory);
});

function socketOf(name: Variant): string {
  return vfs.get(name)?.socket ?? '';
}

interface Answer {
  ok: boolean;
  mismatches: Array<{ field: string; blocks: boolean; consequence: string }>;
}

async function checkWith(name: Variant, from = source.socket) {
  const ended = await runCli(['check', from, socketOf(name), '--json']);
  return { code: ended.code, answer: lastDocument(ended) as unknown as Answer };
}

describe('check', () => {
  test.each(['twin', 'newer'] as const)('finds nothing that speaks against %s', async (name) => {
    const { code, answer } = await checkWith(name);
    expect(code).toBe(0);
    expect(answer.ok).toBe(true);
    expect(answer.mismatches.filter(({ blocks }) => blocks)).toEqual([]);
  });

  test.each([
    ['smaller', ['vramSize']],
    ['other', ['deviceId', 'ggttSize', 'revisionId']],
    ['poorer', ['contexts', 'doorbells']],
    ['old', ['capabilities', 'gucVersion']],
    ['integrated', ['deviceId', 'revisionId', 'vramSize']],
  ] as const)('lists every reason against %s and exits with 6', async (name, fields) => {
    const { code, answer } = await checkWith(name);
    expect(code).toBe(6);
    expect(answer.ok).toBe(false);
    const blocking = answer.mismatches.filter(({ blocks }) => blocks);
    const found = [...new Set(blocking.map(({ field }) => field))].sort();
    expect(found).toEqual(expect.arrayContaining([...fields]));
    for (const { consequence } of blocking) expect(consequence).not.toBe('');
  });

  test('stops nothing', async () => {
    await checkWith('other');
    expect(await source.state()).toBe('RUNNING');
    expect(await vfs.get('other')?.state()).toBe('RUNNING');
  });

  test('says it in words', async () => {
    const ended = await runCli(['check', source.socket, socketOf('smaller')]);
    expect(ended.code).toBe(6);
    expect(ended.stdout).toMatch(/no {2}vramSize {2}8 MiB {3}4 MiB {3}the restore is refused/);
    expect(ended.stdout).toContain(`${source.socket} cannot be moved to ${socketOf('smaller')}`);
  });

  test('compares a checkpoint as well, but not a plain stream', async () => {
    const file = join(directory, 'vf.xevf');
    expect((await runCli(['save', source.socket, file, '--resume'])).code).toBe(0);
    expect((await checkWith('twin', file)).code).toBe(0);
    expect((await checkWith('smaller', file)).code).toBe(6);
    const stream = join(directory, 'vf.stream');
    writeFileSync(stream, 'no checkpoint');
    const ended = await runCli(['check', stream, socketOf('twin'), '--json']);
    expect(ended.code).toBe(1);
    expect(lastDocument(ended)).toMatchObject({ errno: 'ENODATA' });
  });

  test('is what migrate looks at before it touches anything', async () => {
    const ended = await runCli(['migrate', source.socket, socketOf('smaller'), '--json']);
    expect(ended.code).toBe(6);
    expect(lastDocument(ended)).toMatchObject({
      errno: 'EREMCHG',
      phase: 'prepare',
      source: 'untouched',
      target: 'untouched',
    });
    expect(await source.state()).toBe('RUNNING');
  });

  test('3 when an end is not there', async () => {
    const ended = await runCli(['check', source.socket, join(directory, 'nothing.sock')]);
    expect(ended.code).toBe(3);
  });
});
