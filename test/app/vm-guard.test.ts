import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { makeDirectory, removeDirectory } from '../e2e/vf-under-test.ts';
import { type QmpAnswers, QmpServer } from '../support/qmp-server.ts';
import { waitFor } from '../support/wait-for.ts';

const directory = makeDirectory();
const GUARD = new URL('../../dist/app/vm-guard.js', import.meta.url).href;
const WORKER = fileURLToPath(new URL('../../dist/app/vm-guard-worker.js', import.meta.url));
const PATIENCE_MS = 20_000;
const servers: QmpServer[] = [];
let count = 0;

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
afterAll(() => removeDirectory(directory));

async function qemu(answers: QmpAnswers): Promise<QmpServer> {
  const server = await QmpServer.listen(join(directory, `${count++}.qmp`), answers);
  servers.push(server);
  return server;
}

/** A tool that has told its guard `stage`, and is killed then; resolves when the guard is gone, too. */
async function killedAt(stage: string, move: object): Promise<void> {
  const text = `
    import { VmGuard } from ${JSON.stringify(GUARD)};
    const guard = await VmGuard.start(${JSON.stringify(move)});
    if (${JSON.stringify(stage)} === 'over') await guard.end();
    else if (${JSON.stringify(stage)} !== 'watch') await guard.tell(${JSON.stringify(stage)});
    console.log('told');
    setInterval(() => {}, 1000);`;
  const tool = spawn(process.execPath, ['--input-type=module', '--eval', text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve, reject) => {
    tool.stdout.once('data', resolve);
    tool.once('exit', (code) => reject(new Error(`the tool ended with ${code}`)));
  });
  const guards = guardsOf(tool.pid ?? 0);
  tool.kill('SIGKILL');
  if (stage !== 'over') expect(guards).toHaveLength(1);
  // A process that has ended has no executable any more, also before it is waited for.
  await waitFor('the guard ends', PATIENCE_MS, () =>
    guards.every((pid) => !existsSync(`/proc/${pid}/exe`)) ? true : undefined,
  );
}

function guardsOf(tool: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0)
    .filter((pid) => {
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const parent = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
        return args.includes(WORKER) && Number(parent) === tool;
      } catch {
        return false;
      }
    });
}

describe('when the tool is killed, its guard', () => {
  const paused = { 'query-status': () => ({ status: 'paused' }), quit: () => ({}) };

  test('removes what is not complete, even when nothing else was touched', async () => {
    const remove = join(directory, 'half');
    mkdirSync(join(remove, 'more'), { recursive: true });
    await killedAt('watch', {
      from: join(directory, 'none.qmp'),
      fromVf: 'none',
      ran: true,
      remove,
    });
    expect(existsSync(remove)).toBe(false);
  });

  test('ends a target that is only half there', async () => {
    const target = await qemu(paused);
    await killedAt('begun', { to: target.path, ran: true });
    expect(target.commands.at(-1)).toBe('quit');
  });

  test('ends a target that was told to run and did not', async () => {
    const target = await qemu(paused);
    await killedAt('cont', { to: target.path, ran: true });
    expect(target.commands).toEqual(['qmp_capabilities', 'query-status', 'quit']);
  });

  test('leaves a target that runs, and ends the source', async () => {
    const target = await qemu({ ...paused, 'query-status': () => ({ status: 'running' }) });
    const source = await qemu(paused);
    const move = { from: source.path, fromVf: 'none', to: target.path, ran: true };
    await killedAt('cont', move);
    expect(target.commands).toEqual(['qmp_capabilities', 'query-status']);
    expect(source.commands).toEqual(['qmp_capabilities', 'quit']);
  });

  test('touches nobody when nobody can say whether the target runs', async () => {
    const source = await qemu(paused);
    const to = join(directory, 'gone.qmp');
    await killedAt('cont', { from: source.path, fromVf: 'none', to, ran: true });
    expect(source.commands).toEqual([]);
  });

  test('ends the source of a VM that was saved', async () => {
    const source = await qemu(paused);
    await killedAt('cont', { from: source.path, fromVf: 'none', ran: true });
    expect(source.commands).toEqual(['qmp_capabilities', 'quit']);
  });

  test('does nothing once all is as it should be', async () => {
    const target = await qemu(paused);
    await killedAt('over', { to: target.path, ran: true });
    expect(target.commands).toEqual([]);
  });
});
