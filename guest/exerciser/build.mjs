// Compiles the GPU exerciser (the .c files beside this one) with the rig's own gcc against the rig's
// own kernel headers, statically, so that it runs in a guest that has nothing but busybox.
//
// Not in a chroot: like QEMU, the compiler is started through the dynamic loader of its own root
// (guest/rig.mjs rootCommand), so no privilege is needed and the sources keep their paths.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findRig, rootCommand } from '../rig.mjs';

const SOURCES = path.dirname(fileURLToPath(import.meta.url));
const FLAGS = [
  '-std=gnu17',
  '-D_GNU_SOURCE',
  '-O2',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-static',
  '-s',
];

/** How long an executable of other sources is kept. */
const KEPT_MS = 24 * 60 * 60 * 1000;

/** What gcc starts to compile, assemble and link. */
const PARTS = ['cc1', 'as', 'collect2', 'ld'];

/** @returns {string[]} paths of the exerciser's C files, sorted */
export function exerciserSources() {
  return sourceFiles('.c');
}

/**
 * The compiled exerciser; compiles it when `outDirectory` does not hold one of these sources yet.
 * @param {string} root the rig's Debian root, with gcc, libc6-dev and linux-libc-dev
 * @param {string} outDirectory where it is kept; made when missing
 * @returns {string} path of the executable
 * @throws {Error} with the compiler's words when it cannot be compiled
 */
export function buildExerciser(root, outDirectory) {
  const executable = path.join(outDirectory, `exerciser-${fingerprint(root)}`);
  if (fs.existsSync(executable)) return executable;
  fs.mkdirSync(outDirectory, { recursive: true });
  const staging = fs.mkdtempSync(path.join(outDirectory, 'exerciser.building-'));
  try {
    const unfinished = path.join(staging, 'exerciser');
    compile(root, staging, unfinished);
    // Renamed whole, so that two builds at once both leave a complete file.
    fs.renameSync(unfinished, executable);
  } finally {
    fs.rmSync(staging, { recursive: true, force: true });
  }
  removeOld(outDirectory);
  return executable;
}

/** Younger ones may be wanted by other checkouts, at this moment. */
function removeOld(directory) {
  for (const name of fs.readdirSync(directory)) {
    const file = path.join(directory, name);
    const { mtimeMs } = fs.statSync(file, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() };
    if (name.startsWith('exerciser') && Date.now() - mtimeMs > KEPT_MS)
      fs.rmSync(file, { recursive: true, force: true });
  }
}

function compile(root, staging, executable) {
  // gcc looks for its parts beside the path that it finds as its own name.
  const name = path.join(root, 'usr/bin/gcc');
  const gcc = rootCommand(root, 'gcc', name);
  // The loader has to be named for what gcc starts too; where -B says it finds scripts that do.
  const loader = [gcc.command, ...gcc.args.slice(0, gcc.args.indexOf('--argv0'))];
  for (const part of PARTS) {
    const found = run(gcc.command, [...gcc.args, `-B${root}/usr/bin/`, `-print-prog-name=${part}`]);
    const words = [...loader, found.trim()].map(shellQuoted).join(' ');
    fs.writeFileSync(path.join(staging, part), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
  }
  const sources = exerciserSources();
  const args = [`--sysroot=${root}`, `-B${staging}/`, ...FLAGS, ...sources, '-o', executable];
  run(gcc.command, [...gcc.args, ...args]);
}

/** What the program printed. */
function run(command, args) {
  const { error, status, stdout, stderr } = spawnSync(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`the exerciser was not compiled\n${stderr.trimEnd()}`);
  return stdout;
}

/** Differs whenever the sources, the flags or the headers they are compiled against do. */
function fingerprint(root) {
  const hash = createHash('sha256').update(FLAGS.join(' '));
  const header = path.join(root, 'usr/include/drm/xe_drm.h');
  for (const file of [...sourceFiles('.h'), ...exerciserSources(), header]) {
    hash.update(`\0${path.basename(file)}\0`).update(fs.readFileSync(file));
  }
  return hash.digest('hex').slice(0, 16);
}

function sourceFiles(extension) {
  return fs
    .readdirSync(SOURCES)
    .filter((name) => name.endsWith(extension))
    .sort()
    .map((name) => path.join(SOURCES, name));
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { rig, reason } = findRig();
  try {
    if (rig === undefined) throw new Error(reason);
    process.stdout.write(`${buildExerciser(rig.root, path.join(rig.directory, 'exerciser'))}\n`);
  } catch (error) {
    process.stderr.write(`error: ${error.message}\n`);
    process.exitCode = 1;
  }
}
