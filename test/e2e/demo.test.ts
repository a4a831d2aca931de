import { readdirSync } from 'node:fs';
import { afterAll, afterEach, expect, test } from 'vitest';
import { Cli, endAll, lastDocument, runCli } from './cli.ts';
import { makeDirectory, removeDirectory } from './vf-under-test.ts';

const directory = makeDirectory();
/** The demo's sockets go here, so that it can be seen that none is left. */
const env = { TMPDIR: directory };

afterEach(endAll);
afterAll(() => removeDirectory(directory));

const KEYS = [
  'schema',
  'ok',
  'platform',
  'vramBytes',
  'streamBytes',
  'downtimeMs',
  'totalMs',
  'bytesPerSecond',
  'phases',
  'rounds',
  'source',
  'target',
];

test.each([
  ['bmg', ['--vram', '64M'], 64 * 2 ** 20],
  ['ptl', [], 0],
  ['wcl', [], 0],
] as const)('proves on %s that nothing was lost', async (platform, args, vramBytes) => {
  const ended = await runCli(['demo', '--platform', platform, ...args, '--json'], { env });
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  const proof = lastDocument(ended);
  expect(Object.keys(proof).sort()).toEqual([...KEYS].sort());
  expect(proof).toMatchObject({ schema: 1, ok: true, platform, vramBytes });
  // Zeros need not travel.
  expect(proof['streamBytes']).toBeGreaterThan(vramBytes / 2);
  expect(proof['target']).toEqual(proof['source']);
  const source = proof['source'] as Record<string, string>;
  expect(Object.keys(source)).toEqual(['vram', 'ggtt', 'mmio', 'guc']);
  for (const digest of Object.values(source)) expect(digest).toMatch(/^[0-9a-f]{64}$/);
  const phases = proof['phases'] as Array<{ name: string; ms: number; bytes: number }>;
  const isDiscrete = platform === 'bmg';
  expect(phases.map(({ name }) => name)).toEqual([
    'prepare',
    ...(isDiscrete ? ['precopy'] : []),
    'stop',
    'copy',
    'load',
    'run',
    'done',
  ]);
  const moved = phases.reduce((total, { bytes }) => total + bytes, 0);
  expect(moved).toBe(proof['streamBytes']);
  expect(readdirSync(directory)).toEqual([]);
});

test('tells the story in words', async () => {
  const ended = await runCli(['demo', '--vram', '16M'], { env });
  expect(ended.code).toBe(0);
  expect(ended.stdout).toMatch(/two servers run: source \(pid \d+\)/);
  expect(ended.stdout).toMatch(/the guest went on at the target: .* GuC messages/);
  expect(ended.stdout).toMatch(/vram .* equal\nggtt .* equal\nmmio .* equal\nguc .* equal/);
  expect(ended.stdout).toMatch(/nothing was lost\n$/);
});

/** The processes that a demo has started. */
async function serverPids(tool: Cli): Promise<number[]> {
  const said = /source \(pid (\d+)\).*target \(pid (\d+)\)/;
  const match = await tool.until('servers', () => said.exec(tool.stdout) ?? undefined);
  return match.slice(1).map(Number);
}

test('leaves nothing behind when it is called off', async () => {
  const tool = new Cli(['demo', '--vram', '256M'], { env });
  const pids = await serverPids(tool);
  const ended = await tool.kill('SIGINT');
  expect(ended.code).toBe(7);
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  expect(readdirSync(directory)).toEqual([]);
});

test('leaves no server behind when it is killed', async () => {
  const tool = new Cli(['demo', '--vram', '256M'], { env });
  const pids = await serverPids(tool);
  await tool.kill('SIGKILL');
  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await expect.poll(() => pids.some(isAlive), { timeout: 10_000 }).toBe(false);
});

test.each([
  [['--platform', 'dg2'], 1],
  [['--vram', 'much'], 2],
  [['--vram', '64T'], 1],
] as const)('refuses %j with %i', async (args, code) => {
  expect((await runCli(['demo', ...args], { env })).code).toBe(code);
});
