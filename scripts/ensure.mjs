// Makes a checkout usable: installs dependencies and builds dist/ when they are missing or stale.
//
// Runs before node_modules exists, so this file and its callers use nothing but Node itself.
// Everything said here goes to stderr: stdout belongs to the command that runs afterwards.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The checkout's root directory. */
export const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

const NODE_MODULES = path.join(ROOT, 'node_modules');
const DIST = path.join(ROOT, 'dist');
const BUILD_INFO = path.join(DIST, '.tsbuildinfo');
const BUILD_STAMP = path.join(DIST, '.stamp');
const MINIMUM_NODE = [20, 19];
const LOCK_WAIT_MS = 15 * 60 * 1000;

/** Prints one line of progress to stderr. */
export function say(text) {
  process.stderr.write(`${text}\n`);
}

/** Ends the process with a message of the command line's three-line form. */
export function fail(what, cause, hint) {
  process.stderr.write(`error: ${what}\ncause: ${cause}\nhint: ${hint}\n`);
  process.exit(1);
}

/**
 * Installs and builds what is missing or stale; returns at once when nothing is.
 * @throws {Error} when npm or tsc fails; their own output is already on stderr.
 */
export async function ensureReady() {
  checkNode();
  if (isInstalled() && isBuilt()) return;
  await withLock(fs.realpathSync(ROOT), 'installing and building', () => {
    // Asked again inside the lock: the run that held it may have done the work.
    if (!isInstalled()) install();
    if (!isBuilt()) build();
  });
}

/** Installs what is missing, then builds whether or not dist/ is stale. */
export async function ensureInstalledAndBuild() {
  checkNode();
  await withLock(fs.realpathSync(ROOT), 'installing and building', () => {
    if (!isInstalled()) install();
    build();
  });
}

/** Path of a tool that a dependency installed. */
export function toolPath(name) {
  return path.join(NODE_MODULES, '.bin', name);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [wantMajor, wantMinor] = MINIMUM_NODE;
  if (major < wantMajor || (major === wantMajor && minor < wantMinor)) {
    fail(
      'cannot run xe-vfio',
      `Node ${process.versions.node} is older than ${MINIMUM_NODE.join('.')}`,
      'install Node 20.19 or newer (20, 22 and 24 are tested)',
    );
  }
  if (process.platform !== 'linux') {
    fail(
      'cannot run xe-vfio',
      `this is ${process.platform}; VFIO is Linux only`,
      'run it on Linux',
    );
  }
}

/**
 * Whether node_modules holds exactly what package-lock.json asks for. npm writes the hidden
 * lockfile last, so an install that was interrupted counts as missing.
 */
function isInstalled() {
  const wanted = readJson(path.join(ROOT, 'package-lock.json'));
  const have = readJson(path.join(NODE_MODULES, '.package-lock.json'));
  if (have === undefined || wanted === undefined) return false;
  for (const [location, entry] of Object.entries(wanted.packages)) {
    if (location === '') continue;
    const installed = have.packages[location];
    // An optional package for another platform is rightly absent.
    if (installed === undefined && entry.optional) continue;
    if (installed?.version !== entry.version || installed?.integrity !== entry.integrity) {
      return false;
    }
  }
  return fs.existsSync(toolPath('tsc'));
}

function install() {
  const reason = fs.existsSync(NODE_MODULES) ? 'stale against package-lock.json' : 'missing';
  say(`xe-vfio: node_modules is ${reason}: installing with npm ci (registry needed, once)`);
  const started = Date.now();
  // stdout is sent to stderr: `npm start -- --json` must print JSON and nothing else.
  const args = [
    'ci',
    '--include=dev',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    ...npmCacheArgs(),
  ];
  try {
    run('npm ci', ...npmCommand(), args);
  } catch (error) {
    // npm reports a registry that it cannot reach as a lockfile that misses packages.
    throw new Error(`${error.message}; can npm reach its registry? (npm ping)`);
  }
  say(`xe-vfio: installed in ${seconds(started)}`);
}

/** How to start the npm that runs us, or the one on PATH. */
function npmCommand() {
  const running = process.env.npm_execpath;
  if (running !== undefined && path.basename(running) === 'npm-cli.js') {
    return [process.execPath, [running]];
  }
  return ['npm', []];
}

/** npm fails where its cache cannot be written (a container user without a home): use our own. */
function npmCacheArgs() {
  const cache = process.env.npm_config_cache ?? path.join(os.homedir(), '.npm');
  return isWritable(cache) ? [] : ['--cache', path.join(ROOT, '.cache', 'npm')];
}

/** Whether a directory can be written, or made in its nearest existing parent. */
function isWritable(directory) {
  for (let at = path.resolve(directory); ; at = path.dirname(at)) {
    try {
      fs.accessSync(at, fs.constants.W_OK);
      return true;
    } catch (error) {
      if (error.code !== 'ENOENT' || at === path.dirname(at)) return false;
    }
  }
}

/** Whether dist/ was built from these very sources. */
function isBuilt() {
  return readText(BUILD_STAMP) === sourceDigest();
}

/**
 * SHA-256 over names and contents of all that a build depends on. Contents and not times, because
 * git gives every file of a checkout a new time and a clock may go back.
 */
function sourceDigest() {
  const hash = createHash('sha256');
  const inputs = ['tsconfig.json', 'package-lock.json', ...walk(path.join(ROOT, 'src'), 'src')];
  for (const input of inputs) {
    const content = fs.readFileSync(path.join(ROOT, input));
    hash.update(`${input}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

function build() {
  say('xe-vfio: building dist/ with tsc');
  const started = Date.now();
  const digest = sourceDigest();
  fs.rmSync(BUILD_STAMP, { force: true });
  dropOrphans();
  run('tsc', process.execPath, [], [path.join(NODE_MODULES, 'typescript/bin/tsc'), '-p', ROOT]);
  fs.writeFileSync(BUILD_STAMP, digest);
  say(`xe-vfio: built in ${seconds(started)}`);
}

/**
 * Removes what older sources left in dist/, so that nothing imports a module that is gone, and
 * makes tsc emit everything where a file it believes to have written is missing.
 */
function dropOrphans() {
  const expected = new Set(['.tsbuildinfo', '.stamp']);
  let complete = true;
  for (const source of walk(path.join(ROOT, 'src'), '')) {
    if (!source.endsWith('.ts') || source.endsWith('.d.ts')) continue;
    const stem = source.slice(0, -'.ts'.length);
    for (const ending of ['.js', '.js.map', '.d.ts']) expected.add(stem + ending);
    complete &&= fs.existsSync(path.join(DIST, `${stem}.js`));
  }
  for (const file of fs.existsSync(DIST) ? walk(DIST, '') : []) {
    if (!expected.has(file)) fs.rmSync(path.join(DIST, file), { force: true });
  }
  if (!complete) fs.rmSync(BUILD_INFO, { force: true });
}

/** Every file under a directory, sorted, as paths that begin with `prefix`. */
function walk(directory, prefix) {
  const files = [];
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const name = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) files.push(...walk(path.join(directory, entry.name), name));
    else files.push(name);
  }
  return files.sort();
}

/** Runs a program with its stdout on our stderr. */
function run(name, command, prefixArgs, args) {
  const result = spawnSync(command, [...prefixArgs, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 2, 2],
  });
  if (result.error !== undefined) throw new Error(`${name}: ${result.error.message}`);
  if (result.status !== 0) {
    throw new Error(`${name} ended with ${result.signal ?? `exit code ${result.status}`}`);
  }
}

/**
 * Runs `work` while no other process of this user does so for the same directory. The lock is a
 * socket in Linux's abstract namespace: the kernel drops it with its process, so that none is ever
 * left behind.
 * @param {string} directory what is locked; need not exist
 * @param {string} purpose what the holder does, for the one who waits: `building dist/`
 * @param {() => unknown} work
 */
export async function withLock(directory, purpose, work) {
  const id = createHash('sha256').update(`${path.resolve(directory)}\0${process.getuid?.()}`);
  const name = `\0xe-vfio-lock-${id.digest('hex').slice(0, 32)}`;
  const deadline = Date.now() + LOCK_WAIT_MS;
  let told = false;
  for (;;) {
    const server = createServer();
    server.listen(name);
    try {
      await once(server, 'listening');
    } catch (error) {
      if (error.code !== 'EADDRINUSE') throw error;
      if (Date.now() > deadline) throw new Error(`another run is still ${purpose}`);
      if (!told) say(`xe-vfio: another run is ${purpose}: waiting for it`);
      told = true;
      await sleep(200);
      continue;
    }
    try {
      return await work();
    } finally {
      server.close();
    }
  }
}

function readJson(file) {
  const text = readText(file);
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readText(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function seconds(started) {
  return `${((Date.now() - started) / 1000).toFixed(1)} s`;
}
