// The kernel's sample of a VFIO device that can be migrated, as a module for the rig's kernel.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { rigDirectory } from '../rig.mjs';

/** Raised when build-mtty.mjs builds something else, so that older ones are rebuilt. */
export const MTTY_RECIPE = 1;

/** @returns {string} where the module is kept, beside the rig */
export function mttyDirectory() {
  return path.join(path.dirname(rigDirectory()), 'mtty');
}

/**
 * The module for a rig, or why there is none.
 * @param {import('../rig.mjs').Rig} rig
 * @returns {{ module: string, version: string, reason?: undefined }
 *   | { module?: undefined, reason: string }}
 */
export function findMtty(rig, directory = mttyDirectory()) {
  const hint = 'build it as root: node guest/linux/build-mtty.mjs';
  try {
    const stamp = JSON.parse(fs.readFileSync(path.join(directory, 'stamp.json'), 'utf8'));
    const { recipe, kernelRelease, version } = stamp;
    if (recipe !== MTTY_RECIPE || kernelRelease !== rig.kernelRelease)
      return { reason: `the module mtty is for another kernel; ${hint}` };
    const module = path.join(directory, 'mtty.ko');
    fs.accessSync(module, fs.constants.R_OK);
    return { module, version };
  } catch (error) {
    return { reason: `no module mtty in ${directory} (${error.code ?? error.message}); ${hint}` };
  }
}
