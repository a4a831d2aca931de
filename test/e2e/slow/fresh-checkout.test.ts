/** `npm start` on a machine with nothing but Node: it installs, builds and runs by itself. */
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, chownSync, cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, type TestContext } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const LEFT_OUT = new Set(['node_modules', 'dist', '.git', '.cache', 'coverage']);
/** As root, the commands run as `nobody`: they must not need root, nor a home to write to. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let checkout = '';
let unreachable: string | undefined;

beforeAll(() => {
  try {
    execFileSync('npm', ['ping'], { stdio: 'pipe', timeout: 60_000 });
  } catch {
    unreachable = 'npm cannot reach its registry';
    return;
  }
  checkout = mkdtempSync(join(tmpdir(), 'xe-vfio-checkout-'));
  cpSync(ROOT, checkout, {
    recursive: true,
    filter: (source) => source === ROOT || !LEFT_OUT.has(basename(source)),
  });
  if (NOBODY === undefined) return;
  const { uid, gid } = NOBODY;
  chownSync(checkout, uid, gid);
  for (const entry of readdirSync(checkout, { recursive: true, encoding: 'utf8' })) {
    chownSync(join(checkout, entry), uid, gid);
  }
});

afterAll(() => {
  if (checkout !== '') rmSync(checkout, { recursive: true, force: true });
});

/** Runs `npm start -- --json` in the checkout. */
async function npmStart(context: TestContext): Promise<Ended> {
  if (unreachable !== undefined) return context.skip(unreachable);
  const child = spawn('npm', ['start', '--silent', '--', '--json', '--vram', '64M'], {
    cwd: checkout,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, HOME: '/nonexistent' },
    detached: true,
    ...NOBODY,
  });
  // Its whole process group: a demo that hangs must not outlive the test.
  context.onTestFinished(() => killGroup(child.pid));
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  return { code, stdout, stderr };
}

function killGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function expectDemo({ code, stdout, stderr }: Ended): void {
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ schema: 1, ok: true });
}

it('installs and builds once when it is started twice at the same time', async (context) => {
  const runs = await Promise.all([npmStart(context), npmStart(context)]);
  for (const run of runs) expectDemo(run);
  expect(runs.filter(({ stderr }) => stderr.includes('building dist/'))).toHaveLength(1);
  expect(runs.filter(({ stderr }) => stderr.includes('waiting for it'))).toHaveLength(1);
});

it('does neither when nothing has changed', async (context) => {
  const run = await npmStart(context);
  expectDemo(run);
  expect(run.stderr).not.toMatch(/installing|building/);
});

it('builds again when a source has changed', async (context) => {
  if (checkout !== '') appendFileSync(join(checkout, 'src/cli/main.ts'), '\n');
  const run = await npmStart(context);
  expectDemo(run);
  expect(run.stderr).toContain('building dist/');
  expect(run.stderr).not.toContain('installing');
});
