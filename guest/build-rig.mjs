// Builds the guest rig, once: a Debian trixie root with QEMU 11 or newer from trixie-backports and a C
// compiler, the newest stock kernel of trixie-backports, unpacked, and the modules that a guest loads.
//
// `node guest/build-rig.mjs [--force]`. Needs root, apt and mmdebstrap, on amd64. Exit codes as
// xe-vfio's: 0 ready, 1 failed, 2 usage, 4 not root, 5 something it needs is missing.

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { say, withLock } from '../scripts/ensure.mjs';
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
} from './debian.mjs';
import { findRig, RECIPE, rigDirectory, rootCommand } from './rig.mjs';

/** The compiler and the kernel's uAPI headers are for guest/exerciser. */
const PACKAGES = [
  ...['qemu-system-x86', 'busybox-static', 'kmod'],
  ...['gcc', 'libc6-dev', 'linux-libc-dev'],
];
const KERNEL = 'linux-image-amd64';
/** The driver that guests load, after all that it depends on. */
const GUEST_MODULE = 'kernel/drivers/gpu/drm/xe/xe.ko.xz';
/** The first QEMU with the device `vfio-user-pci`. */
const MINIMUM_QEMU_MAJOR = 11;

/**
 * Fetches the packages that hold the newest kernel's image and modules. apt is asked which they are
 * (it splits them anew every few releases), and what else an installation would pull in is left.
 */
const FETCH_KERNEL = [
  'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"',
  `apt-get --simulate install ${KERNEL} | ` +
    "sed -nE 's/^Inst (linux-(image|binary|modules|base)-[0-9][^ ]*) \\(([^ ]+) .*/\\1=\\3/p' > list",
  'test -s list',
  'xargs apt-get --quiet download < list',
].join(' && ');

async function main(args) {
  const unknown = args.find((arg) => arg !== '--force');
  if (unknown !== undefined) {
    throw new RigError(
      `unknown argument ${unknown}`,
      EXIT_USAGE,
      'node guest/build-rig.mjs [--force]',
    );
  }
  const directory = rigDirectory();
  const force = args.includes('--force');
  if (!force && report(directory)) return;
  checkMachine();
  await withLock(directory, 'building the guest rig', () => {
    // Asked again inside the lock: the run that held it may have built it.
    if (!force && report(directory)) return;
    build(directory);
    if (!report(directory)) throw new RigError(findRig(directory).reason, EXIT_FAILED);
  });
}

/** Prints what the rig holds; false when there is none. */
function report(directory) {
  const { rig } = findRig(directory);
  if (rig === undefined) return false;
  say(`guest rig: ready in ${directory}`);
  say(`guest rig: QEMU ${rig.qemuVersion}, Linux ${rig.kernelRelease} (${rig.kernelVersion})`);
  return true;
}

function build(directory) {
  const started = Date.now();
  const staging = `${directory}.building`;
  // Left by a run that was killed; the lock says that nobody works in it.
  fs.rmSync(staging, { recursive: true, force: true });
  fs.mkdirSync(path.join(staging, 'debs'), { recursive: true });
  // mmdebstrap and the user of a rig that root built must be able to pass through.
  fs.chmodSync(staging, 0o755);

  const mirror = debianMirror();
  say(`guest rig: step 1 of 4: Debian ${SUITE} with ${PACKAGES.join(', ')} from ${mirror}`);
  try {
    makeRoot(staging, mirror);
  } catch (error) {
    // A mirror that stumbles once is the usual reason.
    say(`guest rig: ${error.message}; trying once more`);
    for (const part of ['root', 'debs']) {
      fs.rmSync(path.join(staging, part), { recursive: true, force: true });
    }
    fs.mkdirSync(path.join(staging, 'debs'));
    makeRoot(staging, mirror);
  }
  say('guest rig: step 2 of 4: unpacking the kernel');
  const kernel = unpackKernel(staging);
  say("guest rig: step 3 of 4: the guest's modules");
  const guestModules = unpackGuestModules(staging, kernel);
  say('guest rig: step 4 of 4: checking QEMU');
  const stamp = { recipe: RECIPE, qemuVersion: qemuVersion(staging), ...kernel, guestModules };
  fs.writeFileSync(path.join(staging, 'stamp.json'), `${JSON.stringify(stamp, null, 2)}\n`);

  fs.rmSync(directory, { recursive: true, force: true });
  fs.renameSync(staging, directory);
  say(`guest rig: built in ${Math.round((Date.now() - started) / 1000)} s`);
}

/** mmdebstrap makes root/; a hook of it fetches the kernel's packages into debs/. */
function makeRoot(staging, mirror) {
  const aptOptions = [`APT::Default-Release "${BACKPORTS}"`, ...aptNetworkOptions()];
  run('mmdebstrap', [
    '--variant=essential',
    '--architectures=amd64',
    ...aptOptions.map((option) => `--aptopt=${option}`),
    `--include=${PACKAGES.join(',')}`,
    `--customize-hook=cd ${shellQuoted(path.join(staging, 'debs'))} && ${FETCH_KERNEL}`,
    SUITE,
    path.join(staging, 'root'),
    `deb ${mirror} ${SUITE} main`,
    `deb ${mirror} ${BACKPORTS} main`,
  ]);
}

/** Unpacks debs/ into kernel/ and says where the image and the modules are, relative to the rig. */
function unpackKernel(staging) {
  const debs = path.join(staging, 'debs');
  const kernel = path.join(staging, 'kernel');
  for (const deb of fs.readdirSync(debs).filter((name) => name.endsWith('.deb'))) {
    run('dpkg-deb', ['--extract', path.join(debs, deb), kernel]);
  }
  const [, kernelVersion] = fs
    .readFileSync(path.join(debs, 'list'), 'utf8')
    .split('\n')[0]
    .split('=');
  fs.rmSync(debs, { recursive: true });

  const modulesHome = ['kernel/usr/lib/modules', 'kernel/lib/modules'].find((candidate) =>
    fs.existsSync(path.join(staging, candidate)),
  );
  const kernelRelease = modulesHome && fs.readdirSync(path.join(staging, modulesHome))[0];
  if (kernelRelease === undefined) throw new RigError(`${KERNEL} holds no modules`, EXIT_FAILED);
  const modules = `${modulesHome}/${kernelRelease}`;
  const vmlinuz = [`kernel/boot/vmlinuz-${kernelRelease}`, `${modules}/vmlinuz`].find((candidate) =>
    fs.existsSync(path.join(staging, candidate)),
  );
  if (vmlinuz === undefined) throw new RigError(`${KERNEL} holds no vmlinuz`, EXIT_FAILED);
  return { kernelRelease, kernelVersion, vmlinuz, modules };
}

/**
 * Unpacks xe and what it depends on into guest-modules/, as a guest's insmod takes them.
 * @returns {string[]} paths relative to the rig, in the order of loading
 */
function unpackGuestModules(staging, { kernelRelease, modules }) {
  const kernel = path.join(staging, 'kernel');
  // depmod looks for lib/modules; the packages have usr/lib/modules.
  if (!fs.existsSync(path.join(kernel, 'lib'))) fs.symlinkSync('usr/lib', path.join(kernel, 'lib'));
  const { command, args } = rootCommand(path.join(staging, 'root'), 'kmod', 'depmod');
  run(command, [...args, '-b', kernel, kernelRelease]);
  const dependencies = fs.readFileSync(path.join(staging, modules, 'modules.dep'), 'utf8');
  const line = dependencies.split('\n').find((each) => each.startsWith(`${GUEST_MODULE}:`));
  if (line === undefined) throw new RigError(`the kernel has no ${GUEST_MODULE}`, EXIT_FAILED);
  // modules.dep names first what must be loaded last.
  const inOrder = [GUEST_MODULE, ...line.slice(line.indexOf(':') + 1).split(' ')]
    .filter((each) => each !== '')
    .reverse();
  fs.mkdirSync(path.join(staging, 'guest-modules'));
  return inOrder.map((packed) => {
    const unpacked = `guest-modules/${path.basename(packed, '.xz')}`;
    const busybox = path.join(staging, 'root/usr/bin/busybox');
    const bytes = execFileSync(busybox, ['unxz', '-c', path.join(staging, modules, packed)], {
      maxBuffer: 2 ** 28,
    });
    fs.writeFileSync(path.join(staging, unpacked), bytes);
    return unpacked;
  });
}

/**
 * The version of the QEMU that was installed.
 * @throws {RigError} when it is too old to have the device `vfio-user-pci`
 */
function qemuVersion(staging) {
  const shown = execFileSync(
    'dpkg-query',
    [`--admindir=${staging}/root/var/lib/dpkg`, '--show', PACKAGES[0]],
    { encoding: 'utf8' },
  );
  const version = shown.trim().split('\t')[1] ?? '';
  const major = Number.parseInt(version.replace(/^\d+:/, ''), 10);
  if (!(major >= MINIMUM_QEMU_MAJOR)) {
    throw new RigError(
      `${BACKPORTS} of this mirror has QEMU ${version}, older than ${MINIMUM_QEMU_MAJOR}`,
      EXIT_PRECONDITION,
      'name a mirror that is up to date: XE_VFIO_DEBIAN_MIRROR=URL',
    );
  }
  return version;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const hint = error.hint ?? 'see the output above, then: node guest/build-rig.mjs';
  say(`error: the guest rig was not built\ncause: ${error.message}\nhint: ${hint}`);
  process.exitCode = error.exitCode ?? EXIT_FAILED;
}
