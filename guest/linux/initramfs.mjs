// Builds the file system of a guest that runs this project's programs under the rig's stock kernel:
// busybox, Node with the libraries it needs, kernel modules, and files of the caller's.

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { CpioWriter } from './cpio.mjs';

/** Programs of busybox that have a name of their own in the guest. */
const APPLETS = ['sh', 'mount', 'insmod', 'poweroff', 'mkdir', 'ln', 'cat', 'ls', 'sleep', 'dmesg'];

/**
 * @param {object} options
 * @param {import('../rig.mjs').Rig} options.rig
 * @param {string} options.file where the archive goes
 * @param {readonly string[]} options.modules of the rig's kernel, by name, in the order to load them
 * @param {readonly string[]} [options.extraModules] module files of this machine, loaded afterwards
 * @param {Readonly<Record<string, string>>} options.trees paths of the guest with what of this
 * machine lies there
 * @param {string} options.command what the guest runs, as a line of shell; then it powers off
 */
export function buildInitramfs({ rig, file, modules, extraModules = [], trees, command }) {
  const cpio = new CpioWriter(file);
  try {
    for (const directory of ['proc', 'sys', 'dev', 'tmp', 'run', 'root']) cpio.directory(directory);
    cpio.file('bin/busybox', rig.busybox);
    for (const applet of APPLETS) cpio.link(`bin/${applet}`, 'busybox');
    cpio.file('bin/node', process.execPath);
    for (const library of librariesOf(process.execPath)) cpio.file(library.slice(1), library);
    const known = moduleFiles(rig);
    const load = [];
    for (const name of modules) {
      const source = known.get(name);
      if (source === undefined) throw new Error(`the rig's kernel has no module ${name}`);
      cpio.file(`modules/${path.basename(source)}`, source);
      load.push(`modules/${path.basename(source)}`);
    }
    for (const source of extraModules) {
      cpio.file(`modules/${path.basename(source)}`, source);
      load.push(`modules/${path.basename(source)}`);
    }
    for (const [name, source] of Object.entries(trees)) cpio.tree(name, source);
    cpio.content('init', initScript(load, command));
  } finally {
    cpio.close();
  }
}

/** The first program of the guest. */
function initScript(modules, command) {
  return [
    '#!/bin/sh',
    'export PATH=/bin HOME=/root',
    'mount -t proc none /proc',
    'mount -t sysfs none /sys',
    'mount -t devtmpfs none /dev',
    'mount -t debugfs none /sys/kernel/debug',
    ...modules.map((module) => `insmod /${module} || echo "insmod ${module} failed"`),
    command,
    'poweroff -f',
    '',
  ].join('\n');
}

/** The modules of the rig's kernel, by the name that lsmod shows. */
function moduleFiles({ modules }) {
  const files = new Map();
  for (const entry of fs.readdirSync(path.join(modules, 'kernel'), {
    recursive: true,
    withFileTypes: true,
  })) {
    const name = /^(.*)\.ko(\.xz)?$/.exec(entry.name)?.[1];
    if (name !== undefined)
      files.set(name.replaceAll('-', '_'), path.join(entry.parentPath ?? entry.path, entry.name));
  }
  return files;
}

/** The shared libraries of a program and its dynamic loader, by the paths it asks for. */
function librariesOf(program) {
  const listed = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...listed.matchAll(/(\/\S+) \(0x/g)].map(([, library]) => library);
}
