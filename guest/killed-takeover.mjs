/** A hand-over whose new process does not live to see its end. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const serveModule = new URL('../dist/app/serve.js', import.meta.url).href;

/**
 * Takes over in a process that kills itself at a step.
 *
 * @param {string} socket that the running server has
 * @param {string} dieAt a `HandoverStep`
 * @returns {Promise<string | undefined>} the signal that ended it
 */
export async function killedAt(socket, dieAt) {
  // A worker inherits the options of its process, and one with --eval does not start.
  const directory = await mkdtemp(join(tmpdir(), 'xe-vfio-kills-'));
  const program = join(directory, 'program.mjs');
  await writeFile(
    program,
    `import { ServedHost } from ${JSON.stringify(serveModule)};
    await ServedHost.takeOver(${JSON.stringify({ path: socket, dieAt })});`,
  );
  const signal = await new Promise((resolve) => {
    execFile(process.execPath, [program], (error) => resolve(error?.signal ?? undefined));
  });
  await rm(directory, { recursive: true });
  return signal;
}
