// Kernel modules that the distribution does not have, built for the rig's kernel from its own source:
// mtty, the sample of a VFIO device that can be migrated, and VFIO with iommufd and device files, which
// Debian's configuration leaves out.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { rigDirectory } from '../rig.mjs';

/** Raised when build-modules.mjs builds something else, so that older ones are rebuilt. */
export const MODULES_RECIPE = 1;

/** The sample for the distribution's own VFIO. */
export const MTTY = 'mtty.ko';
/** VFIO with iommufd and the sample for it, in the order to load them. */
export const IOMMUFD = [
  'iommufd/iommufd.ko',
  'iommufd/vfio.ko',
  'iommufd/vfio_iommu_type1.ko',
  'iommufd/vfio-pci-core.ko',
  'iommufd/vfio-pci.ko',
  'iommufd/mdev.ko',
  'iommufd/mtty.ko',
];

/** @returns {string} where the modules are kept, beside the rig */
export function modulesDirectory() {
  return path.join(path.dirname(rigDirectory()), 'modules');
}

/**
 * @typedef {object} Modules
 * @property {string} mtty path of the sample for the distribution's VFIO
 * @property {string[]} iommufd paths of VFIO with iommufd, in the order to load them
 * @property {string} version of the source package
 */

/**
 * The modules for a rig, or why there are none.
 * @param {import('../rig.mjs').Rig} rig
 * @returns {{ modules: Modules, reason?: undefined } | { modules?: undefined, reason: string }}
 */
export function findModules(rig, directory = modulesDirectory()) {
  const hint = 'build them as root: node guest/linux/build-modules.mjs';
  try {
    const stamp = JSON.parse(fs.readFileSync(path.join(directory, 'stamp.json'), 'utf8'));
    const { recipe, kernelRelease, version } = stamp;
    if (recipe !== MODULES_RECIPE || kernelRelease !== rig.kernelRelease)
      return { reason: `the modules in ${directory} are for another kernel; ${hint}` };
    const [mtty, ...iommufd] = [MTTY, ...IOMMUFD].map((name) => path.join(directory, name));
    for (const file of [mtty, ...iommufd]) fs.accessSync(file, fs.constants.R_OK);
    return { modules: { mtty, iommufd, version } };
  } catch (error) {
    return { reason: `no modules in ${directory} (${error.code ?? error.message}); ${hint}` };
  }
}
