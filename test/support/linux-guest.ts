/**
 * A guest that runs this project on the rig's stock kernel under TCG, beside an emulated IOMMU, an edu
 * and an igb: busybox, Node with its libraries, kernel modules, what was built, and the packages that
 * it needs.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { qemuCommand, type Rig } from '../../guest/rig.mjs';
import { type ArchiveEntry, FILE_TYPE, newcArchive } from '../../src/app/newc-archive.ts';

/** What a guest is to run. */
export interface LinuxGuestOptions {
  readonly rig: Rig;
  /** A line of shell; then the guest powers off. */
  readonly command: string;
  /** Modules of the rig's kernel, by the name that lsmod shows, in the order to load them. */
  readonly modules: readonly string[];
  /** Module files of this machine, loaded afterwards. */
  readonly moduleFiles: readonly string[];
  /** Paths of the guest, with the files of this machine that lie there. */
  readonly files?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

/** What a program of guest/linux/proofs told. */
export interface Proof {
  readonly name: string;
  readonly ok: boolean;
  readonly error?: string;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Where the project lies in the guest. */
const HOME = 'app';
const PARTS = ['dist', 'bin', 'package.json', 'guest/linux/proofs'];
const DIRECTORIES = ['proc', 'sys', 'dev', 'tmp', 'run', 'root', 'modules'];
const EXECUTABLE = FILE_TYPE.REGULAR | 0o755;
const DEVICES = [
  ...['-device', 'intel-iommu,intremap=on,caching-mode=on'],
  ...['-device', 'pcie-root-port,id=igb-slot,chassis=1'],
  ...['-netdev', 'user,id=net', '-device', 'igb,bus=igb-slot,netdev=net'],
  ...['-device', 'edu'],
];
/** The files of the first root, Node, and the memory that the proofs map. */
const MEMORY_MIB = 1024;

/** Runs a guest to its end. @returns all that it wrote to its console */
export async function runLinuxGuest(options: LinuxGuestOptions): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-linux-guest-'));
  try {
    const initramfs = join(directory, 'initramfs.cpio');
    writeFileSync(initramfs, newcArchive(entriesOf(options)));
    return await runQemu(options.rig, initramfs, options.timeoutMs);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The proofs in a guest's console, by their names. */
export function proofsIn(text: string): Map<string, Proof> {
  const told = new Map<string, Proof>();
  for (const [, line = ''] of text.matchAll(/^@@proof (\{.*\})\r?$/gm)) {
    try {
      const proof = JSON.parse(line) as Proof;
      told.set(proof.name, proof);
    } catch {
      // The kernel wrote into the middle of the line; the test then misses the proof and shows all.
    }
  }
  return told;
}

function runQemu(rig: Rig, initramfs: string, timeoutMs: number): Promise<string> {
  const { command, args, env } = qemuCommand(rig);
  const qemu = spawn(
    command,
    [
      ...args,
      ...['-nodefaults', '-nographic', '-no-reboot', '-serial', 'stdio'],
      ...['-machine', 'q35,accel=tcg', '-cpu', 'max', '-smp', '2', '-m', String(MEMORY_MIB)],
      ...['-kernel', rig.vmlinuz, '-initrd', initramfs],
      ...['-append', 'console=ttyS0 panic=-1 intel_iommu=on quiet'],
      ...DEVICES,
    ],
    { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let text = '';
  for (const stream of [qemu.stdout, qemu.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
  const timer = setTimeout(() => qemu.kill('SIGKILL'), timeoutMs);
  return new Promise((resolve, reject) => {
    qemu.on('error', reject);
    qemu.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

/** The files of the guest, each directory before what is in it. */
function entriesOf(options: LinuxGuestOptions): ArchiveEntry[] {
  const { rig, files = {} } = options;
  const modules = [...stockModules(rig, options.modules), ...options.moduleFiles];
  const sources = new Map<string, string>([
    ['bin/busybox', rig.busybox],
    ['bin/node', process.execPath],
    ...librariesOf(process.execPath).map((path): [string, string] => [path.slice(1), path]),
    ...modules.map((path): [string, string] => [`modules/${basename(path)}`, path]),
    ...projectFiles(),
    ...Object.entries(files),
  ]);
  const directories = new Set(DIRECTORIES);
  for (const name of sources.keys())
    for (let at = dirname(name); at !== '.'; at = dirname(at)) directories.add(at);
  const text = new TextEncoder();
  return [
    ...[...directories].sort().map((name) => ({ name, mode: FILE_TYPE.DIRECTORY | 0o755 })),
    // The kernel opens it for init before anything is mounted.
    { name: 'dev/console', mode: FILE_TYPE.CHARACTER | 0o600, device: { major: 5, minor: 1 } },
    { name: 'bin/sh', mode: FILE_TYPE.LINK | 0o777, content: text.encode('busybox') },
    { name: 'init', mode: EXECUTABLE, content: text.encode(initScript(modules, options.command)) },
    ...[...sources].map(([name, path]) => ({
      name,
      mode: EXECUTABLE,
      content: readFileSync(path),
    })),
  ];
}

/** The first program of the guest. */
function initScript(modules: readonly string[], command: string): string {
  return [
    '#!/bin/busybox sh',
    '/bin/busybox --install -s /bin',
    'export PATH=/bin HOME=/root',
    'mount -t proc none /proc',
    'mount -t sysfs none /sys',
    'mount -t devtmpfs none /dev',
    ...modules.map((path) => `insmod /modules/${basename(path)}`),
    command,
    'poweroff -f',
    '',
  ].join('\n');
}

/** The files of modules of the rig's kernel. */
function stockModules(rig: Rig, names: readonly string[]): string[] {
  const found = new Map<string, string>();
  const kernel = join(rig.modules, 'kernel');
  for (const path of readdirSync(kernel, { recursive: true, encoding: 'utf8' })) {
    const name = /([^/]+)\.ko(\.xz)?$/.exec(path)?.[1];
    if (name !== undefined) found.set(name.replaceAll('-', '_'), join(kernel, path));
  }
  return names.map((name) => {
    const path = found.get(name);
    if (path === undefined) throw new Error(`the rig's kernel has no module ${name}`);
    return path;
  });
}

/** What was built and the packages that it runs with, by their paths in the guest. */
function projectFiles(): [string, string][] {
  const names = [...PARTS, ...runtimePackages().map((name) => `node_modules/${name}`)];
  return names.flatMap((name) => filesIn(name));
}

function filesIn(name: string): [string, string][] {
  const path = join(ROOT, name);
  if (!statSync(path).isDirectory()) return [[`${HOME}/${name}`, path]];
  return readdirSync(path).flatMap((child) => filesIn(`${name}/${child}`));
}

/** The packages that are needed to run, with those that they need. */
function runtimePackages(): string[] {
  const found = new Set<string>();
  const visit = (file: string) => {
    const { dependencies, optionalDependencies } = JSON.parse(readFileSync(file, 'utf8'));
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const directory = join(ROOT, 'node_modules', name);
      if (found.has(name) || !existsSync(directory)) continue;
      found.add(name);
      visit(join(directory, 'package.json'));
    }
  };
  visit(join(ROOT, 'package.json'));
  return [...found];
}

/** The shared libraries of a program and its dynamic loader, by the paths that it asks for. */
function librariesOf(program: string): string[] {
  const listed = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...listed.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
}
