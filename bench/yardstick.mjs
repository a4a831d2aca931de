/**
 * The yardsticks: small C programs, compiled once a run where there is a C compiler.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCES = fileURLToPath(new URL('yardstick/', import.meta.url));

/**
 * Compiles every yardstick.
 *
 * @returns {{ run(name: string, args: Array<string | number>, core?: number): number,
 *   close(): void } | { reason: string }} the compiled programs, or why there are none
 */
export function compileYardsticks() {
  const compiler = ['cc', 'gcc', 'clang'].find(
    (name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
  );
  if (compiler === undefined) return { reason: 'no C compiler (cc, gcc or clang) is installed' };
  const folder = mkdtempSync(join(tmpdir(), 'xe-vfio-yardstick-'));
  for (const name of ['pingpong', 'copy', 'stream', 'tcp', 'gap']) {
    const built = spawnSync(
      compiler,
      ['-O2', '-o', join(folder, name), join(SOURCES, `${name}.c`)],
      { encoding: 'utf8' },
    );
    if (built.status !== 0) {
      rmSync(folder, { recursive: true });
      return { reason: `${compiler} could not build ${name}.c: ${built.stderr.split('\n')[0]}` };
    }
  }
  return {
    run(name, args, core) {
      const [command, ...rest] = pinned([join(folder, name), ...args.map(String)], core);
      return Number(execFileSync(command, rest, { encoding: 'utf8' }));
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const taskset = spawnSync('taskset', ['--version'], { stdio: 'ignore' }).status === 0;

/** True when programs can be held on one core. */
export const canPin = taskset;

/** `command` held on core `core` when there is one to hold it on. */
export function pinned(command, core) {
  return core === undefined || !taskset ? command : ['taskset', '-c', String(core), ...command];
}

/** The median of a list of numbers. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
