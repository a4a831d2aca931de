// This project as a guest gets it: what was built, and the packages that it runs with.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { ROOT } from '../../scripts/ensure.mjs';

/** Where the project lies in the guest. */
const HOME = 'app';
/** Files and directories of the project itself. */
const PARTS = ['dist', 'bin', 'package.json', 'guest/linux/proofs'];

/** @returns {Record<string, string>} paths in the guest with what of this machine lies there */
export function projectTrees() {
  const names = [...PARTS, ...runtimePackages().map((name) => `node_modules/${name}`)];
  return Object.fromEntries(names.map((name) => [`${HOME}/${name}`, path.join(ROOT, name)]));
}

/** The packages that are needed to run, with those that they need. */
function runtimePackages() {
  const found = new Set();
  const visit = (file) => {
    const { dependencies, optionalDependencies } = JSON.parse(fs.readFileSync(file, 'utf8'));
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const directory = path.join(ROOT, 'node_modules', name);
      if (found.has(name) || !fs.existsSync(directory)) continue;
      found.add(name);
      visit(path.join(directory, 'package.json'));
    }
  };
  visit(path.join(ROOT, 'package.json'));
  return [...found];
}
