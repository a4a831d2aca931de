// Builds the modules of modules.mjs for the rig's kernel: from the distribution's own kernel source, with
// its own headers and compiler, in a Debian root that is removed afterwards.
//
// `node guest/linux/build-modules.mjs [--force]`. Needs what guest/build-rig.mjs needs, and the rig. Exit
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
import { findModules, IOMMUFD, MODULES_RECIPE, MTTY, modulesDirectory } from './modules.mjs';

/** What of the kernel's source is built. */
const SOURCES = [
  ...['drivers/vfio', 'drivers/iommu'],
  ...['lib/interval_tree.c', 'samples/vfio-mdev/mtty.c'],
];

/** What the kernel's configuration leaves out, for the build and for the compiler. */
const IOMMUFD_CONFIG = {
  make: ['CONFIG_IOMMUFD=m', 'CONFIG_VFIO_DEVICE_CDEV=y'],
  define: [
    ...['CONFIG_IOMMUFD_MODULE', 'CONFIG_IOMMUFD_DRIVER_CORE'],
    ...['CONFIG_VFIO_DEVICE_CDEV', 'CONFIG_INTERVAL_TREE_SPAN_ITER'],
  ],
};

async function main(args) {
  const unknown = args.find((arg) => arg !== '--force');
  if (unknown !== undefined)
    throw new RigError(`unknown argument ${unknown}`, EXIT_USAGE, 'build-modules.mjs [--force]');
  const { rig, reason } = findRig();
  if (rig === undefined) throw new RigError(reason, EXIT_PRECONDITION);
  const force = args.includes('--force');
  if (!force && report(rig)) return;
  checkMachine();
  const directory = modulesDirectory();
  await withLock(directory, "building the guest's modules", () => {
    // Asked again inside the lock: the run that held it may have built them.
    if (!force && report(rig)) return;
    build(rig, directory);
    if (!report(rig)) throw new RigError(findModules(rig).reason, EXIT_FAILED);
  });
}

/** Prints what there is; false when there is nothing. */
function report(rig) {
  const { modules } = findModules(rig);
  if (modules === undefined) return false;
  say(`modules: ready, for Linux ${rig.kernelRelease}, from linux-source ${modules.version}`);
  return true;
}

function build(rig, directory) {
  const started = Date.now();
  const staging = `${directory}.building`;
  // Left by a run that was killed; the lock says that nobody works in it.
  fs.rmSync(staging, { recursive: true, force: true });
  fs.mkdirSync(path.join(staging, 'result/iommufd'), { recursive: true });
  fs.chmodSync(staging, 0o755);
  try {
    buildModules(rig, path.join(staging, 'root'), path.join(staging, 'result'));
    fs.rmSync(directory, { recursive: true, force: true });
    fs.renameSync(path.join(staging, 'result'), directory);
  } finally {
    fs.rmSync(staging, { recursive: true, force: true });
  }
  say(`modules: built in ${Math.round((Date.now() - started) / 1000)} s`);
}

/**
 * @param {import('../rig.mjs').Rig} rig
 * @param {string} root where the Debian root goes
 * @param {string} result where the modules and their stamp go
 */
function buildModules({ kernelRelease, kernelVersion }, root, result) {
  const mirror = debianMirror();
  const headers = `linux-headers-${kernelRelease}`;
  const source = `linux-source-${kernelRelease.split('.', 2).join('.')}`;
  say(`modules: ${headers} and ${source} ${kernelVersion} from ${mirror}`);
  run('mmdebstrap', [
    '--variant=apt',
    '--architectures=amd64',
    ...[`APT::Default-Release "${BACKPORTS}"`, ...aptNetworkOptions()].map(
      (option) => `--aptopt=${option}`,
    ),
    `--include=${headers},binutils,make,xz-utils`,
    '--customize-hook=mkdir "$1/build"',
    `--customize-hook=chroot "$1" sh -c ${shellQuoted(script(source, kernelVersion, headers))}`,
    `--customize-hook=cp -r "$1/build/result/." ${shellQuoted(result)}`,
    SUITE,
    root,
    `deb ${mirror} ${SUITE} main`,
    `deb ${mirror} ${BACKPORTS} main`,
  ]);
  for (const name of [MTTY, ...IOMMUFD])
    if (!fs.readFileSync(path.join(result, name)).includes(`vermagic=${kernelRelease} `))
      throw new RigError(`${name} was not built for ${kernelRelease}`, EXIT_FAILED);
  const stamp = { recipe: MODULES_RECIPE, kernelRelease, version: kernelVersion };
  fs.writeFileSync(path.join(result, 'stamp.json'), `${JSON.stringify(stamp, null, 2)}\n`);
}

/** What is done in the Debian root. */
function script(source, version, headers) {
  const make = `make --silent -C /usr/src/${headers}`;
  const { make: options, define } = IOMMUFD_CONFIG;
  const defines = define.map((name) => `-D${name}=1`).join(' ');
  const iommufd = 'drivers/iommu/iommufd';
  return [
    'set -e',
    'cd /build',
    // The source is fetched and not installed: a few directories of it are wanted.
    `apt-get --quiet download ${source}=${version}`,
    `dpkg-deb --fsys-tarfile ${source}_*.deb | tar -xO --wildcards './usr/src/*.tar.xz' |` +
      ` tar -xJ --strip-components=1 ${SOURCES.map((each) => `${source}/${each}`).join(' ')}`,
    'mkdir -p stock result/iommufd drivers/vfio/mtty',
    // The sample as it is, for VFIO as the distribution has it.
    'cp samples/vfio-mdev/mtty.c stock',
    "echo 'obj-m := mtty.o' > stock/Kbuild",
    `${make} M=/build/stock modules`,
    'cp stock/mtty.ko result',
    // VFIO once more, with iommufd. Two parts of it belong to the kernel's image: they go into the module.
    'cp samples/vfio-mdev/mtty.c drivers/vfio/mtty',
    "echo 'obj-m := mtty.o' > drivers/vfio/mtty/Makefile",
    `sed 's/^#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER/#if 1/;/^INTERVAL_TREE_DEFINE/,/^EXPORT_SYMBOL_GPL(interval_tree_iter_next)/d' lib/interval_tree.c > ${iommufd}/span_iter.c`,
    `sed -i 's/^iommufd-y := /iommufd-y := driver.o span_iter.o /' ${iommufd}/Makefile`,
    "echo 'obj-m := iommu/iommufd/ vfio/ vfio/mtty/' > drivers/Kbuild",
    `${make} M=/build/drivers ${options.join(' ')} KCFLAGS='${defines}' modules`,
    "find drivers -name '*.ko' -exec cp {} result/iommufd ';'",
  ].join('\n');
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const hint = error.hint ?? 'see the output above, then: node guest/linux/build-modules.mjs';
  say(`error: the modules were not built\ncause: ${error.message}\nhint: ${hint}`);
  process.exitCode = error.exitCode ?? EXIT_FAILED;
}
