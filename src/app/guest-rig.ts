/** The guest rig (docs/guest-rig.md) as the use cases see it: found, or built when it is missing. */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Fault } from '../base/fault.ts';

/** A rig that is complete. */
export interface GuestRig {
  readonly directory: string;
  /** The Debian root that holds QEMU and the compiler. */
  readonly root: string;
  /** Package version of QEMU. */
  readonly qemuVersion: string;
  /** What `uname -r` prints in the guest. */
  readonly kernelRelease: string;
  /** Package version of the kernel. */
  readonly kernelVersion: string;
  readonly vmlinuz: string;
  /** Paths of xe and what it depends on, in the order of loading. */
  readonly guestModules: readonly string[];
  /** Path of a statically linked busybox. */
  readonly busybox: string;
}

/** How a program is started. */
export interface ProgramStart {
  readonly command: string;
  readonly args: readonly string[];
  /** To be added to the environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** What `guest/rig.mjs` exports. */
interface RigModule {
  findRig(): { readonly rig: GuestRig } | { readonly rig?: undefined; readonly reason: string };
  qemuCommand(rig: GuestRig): ProgramStart;
}

/** What `guest/exerciser/build.mjs` exports. */
interface ExerciserModule {
  buildExerciser(root: string, outDirectory: string): string;
}

const PLACE = new URL('../../guest/', import.meta.url);
/** Exit codes of `guest/build-rig.mjs` that stand for an errno. */
const BUILD_FAULTS: Readonly<Record<number, 'EPERM' | 'ENOPKG'>> = { 4: 'EPERM', 5: 'ENOPKG' };

/**
 * The rig; built first when there is none.
 *
 * @param onProgress lines about the building
 * @throws {Fault} ENOENT outside of a checkout, EPERM when building it needs root, ENOPKG when it
 * needs something that this machine does not have, EIO when building fails
 */
export async function prepareRig(onProgress: (line: string) => void): Promise<GuestRig> {
  const module = await rigModule();
  const found = module.findRig();
  if (found.rig !== undefined) return found.rig;
  onProgress(found.reason);
  await buildRig(onProgress);
  const built = module.findRig();
  if (built.rig !== undefined) return built.rig;
  throw new Fault('EIO', built.reason);
}

/** How the QEMU of a rig is started; its own arguments follow. */
export async function qemuCommand(rig: GuestRig): Promise<ProgramStart> {
  return (await rigModule()).qemuCommand(rig);
}

/**
 * The path of the GPU exerciser, compiled in the rig if it has changed.
 * @throws {Fault} ENOENT outside of a checkout; EIO when it cannot be compiled
 */
export async function prepareExerciser(rig: GuestRig): Promise<string> {
  const { buildExerciser } = await load<ExerciserModule>('exerciser/build.mjs');
  try {
    return buildExerciser(rig.root, exerciserDirectory(rig));
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    // Of a compiler's many lines the first error tells most.
    const line = text.split('\n').find((each) => each.includes('error:')) ?? text;
    throw new Fault('EIO', `the GPU exerciser was not compiled: ${line}`, {
      cause: error,
      hint: 'change its sources in guest/exerciser, then run this again',
    });
  }
}

/** In the rig; where that belongs to somebody else, in the temporary directory. */
function exerciserDirectory({ directory }: GuestRig): string {
  try {
    accessSync(directory, constants.W_OK);
    return join(directory, 'exerciser');
  } catch {
    return join(tmpdir(), `xe-vfio-exerciser-${process.getuid?.() ?? 0}`);
  }
}

async function rigModule(): Promise<RigModule> {
  return await load<RigModule>('rig.mjs');
}

async function load<Module>(file: string): Promise<Module> {
  const place = new URL(file, PLACE);
  if (!existsSync(place))
    throw new Fault('ENOENT', 'the guest rig is not part of this installation', {
      hint: 'run it from a checkout of the source',
    });
  return (await import(place.href)) as Module;
}

async function buildRig(onProgress: (line: string) => void): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('build-rig.mjs', PLACE))], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let cause = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (line.startsWith('cause: ')) cause = line.slice('cause: '.length);
    onProgress(line);
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code === 0) return;
  throw new Fault(BUILD_FAULTS[code ?? 1] ?? 'EIO', `the guest rig was not built: ${cause}`, {
    hint: 'node guest/build-rig.mjs, docs/guest-rig.md',
  });
}
