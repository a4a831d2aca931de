/** Where a machine shows itself: its own file systems, or those of a host seen from a container. */
import { type Roots, rootsOf } from './sysfs-read.ts';

/** The directories that are looked at. */
export interface Machine extends Roots {
  readonly proc: string;
  readonly dev: string;
  readonly boot: string;
  /** Where lock files are. */
  readonly run: string;
}

/** The directories below `root`, which is `/` unless given. */
export function machineAt(root = '/'): Machine {
  const base = root.replace(/\/+$/, '');
  return {
    ...rootsOf({ sysfs: `${base}/sys` }),
    proc: `${base}/proc`,
    dev: `${base}/dev`,
    boot: `${base}/boot`,
    run: `${base}/run`,
  };
}
