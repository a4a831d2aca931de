// Builds mtty, the kernel's sample of a VFIO device that can be migrated, for the rig's kernel: from the
// distribution's own kernel source, with its own headers and compiler, in a Debian root that is removed
// afterwards.
//
// `node guest/linux/build-mtty.mjs [--force]`. Needs what guest/build-rig.mjs needs, and the rig. Exit
// codes are those of that program.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { say, withLock } from '../../scripts/ensure.mjs';
import {
  aptNetworkOptions,
  BACKPORTS,
  checkMachine,
  debianMirror,
  EXIT_FAILED,
  EXIT_PRECONDITION,
  EXIT_USAGE,
  RigError,
  run,
  SUITE,
  shellQuoted,
} from '../debian.mjs';
import { findRig } from '../rig.mjs';
import { findMtty, MTTY_RECIPE, mttyDirectory } from './mtty.mjs';

const SOURCE = 'samples/vfio-mdev/mtty.c';

async function main(args) {
  const unknown = args.find((arg) => arg !== '--force');
  if (unknown !== undefined)
    throw new RigError(`unknown argument ${unknown}`, EXIT_USAGE, 'build-mtty.mjs [--force]');
  const { rig, reason } = findRig();
  if (rig === undefined) throw new RigError(reason, EXIT_PRECONDITION);
  const force = args.includes('--force');
  if (!force && report(rig)) return;
  checkMachine();
  const directory = mttyDirectory();
  await withLock(directory, 'building mtty', () => {
    // Asked again inside the lock: the run that held it may have built it.
    if (!force && report(rig)) return;
    build(rig, directory);
    if (!report(rig)) throw new RigError(findMtty(rig).reason, EXIT_FAILED);
  });
}

/** Prints what there is; false when there is nothing. */
function report(rig) {
  const { module, version } = findMtty(rig);
  if (module === undefined) return false;
  say(`mtty: ready, for Linux ${rig.kernelRelease}, from linux-source ${version}`);
  return true;
}

function build(rig, directory) {
  const started = Date.now();
  const staging = `${directory}.building`;
  // Left by a run that was killed; the lock says that nobody works in it.
  fs.rmSync(staging, { recursive: true, force: true });
  fs.mkdirSync(path.join(staging, 'result'), { recursive: true });
  fs.chmodSync(staging, 0o755);
  try {
    buildModule(rig, path.join(staging, 'root'), path.join(staging, 'result'));
    fs.rmSync(directory, { recursive: true, force: true });
    fs.renameSync(path.join(staging, 'result'), directory);
  } finally {
    fs.rmSync(staging, { recursive: true, force: true });
  }
  say(`mtty: built in ${Math.round((Date.now() - started) / 1000)} s`);
}

/**
 * @param {import('../rig.mjs').Rig} rig
 * @param {string} root where the Debian root goes
 * @param {string} result where the module and its stamp go
 */
function buildModule({ kernelRelease, kernelVersion }, root, result) {
  const mirror = debianMirror();
  const headers = `linux-headers-${kernelRelease}`;
  const source = `linux-source-${kernelRelease.split('.', 2).join('.')}`;
  say(`mtty: ${headers} and ${source} ${kernelVersion} from ${mirror}`);
  // The source is fetched and not installed: one file of it is wanted.
  const script = [
    'set -e',
    'cd /build',
    `apt-get --quiet download ${source}=${kernelVersion}`,
    `dpkg-deb --fsys-tarfile ${source}_*.deb | tar -xO --wildcards './usr/src/*.tar.xz' |` +
      ` tar -xJ --strip-components=3 ${source}/${SOURCE}`,
    "echo 'obj-m := mtty.o' > Makefile",
    `make --silent -C /usr/src/${headers} M=/build modules`,
  ].join('\n');
  run('mmdebstrap', [
    '--variant=apt',
    '--architectures=amd64',
    ...[`APT::Default-Release "${BACKPORTS}"`, ...aptNetworkOptions()].map(
      (option) => `--aptopt=${option}`,
    ),
    `--include=${headers},binutils,make,xz-utils`,
    '--customize-hook=mkdir "$1/build"',
    `--customize-hook=chroot "$1" sh -c ${shellQuoted(script)}`,
    `--customize-hook=cp "$1/build/mtty.ko" ${shellQuoted(result)}`,
    SUITE,
    root,
    `deb ${mirror} ${SUITE} main`,
    `deb ${mirror} ${BACKPORTS} main`,
  ]);
  if (!fs.readFileSync(path.join(result, 'mtty.ko')).includes(`vermagic=${kernelRelease} `))
    throw new RigError(`mtty was not built for ${kernelRelease}`, EXIT_FAILED);
  const stamp = { recipe: MTTY_RECIPE, kernelRelease, version: kernelVersion };
  fs.writeFileSync(path.join(result, 'stamp.json'), `${JSON.stringify(stamp, null, 2)}\n`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const hint = error.hint ?? 'see the output above, then: node guest/linux/build-mtty.mjs';
  say(`error: mtty was not built\ncause: ${error.message}\nhint: ${hint}`);
  process.exitCode = error.exitCode ?? EXIT_FAILED;
}
