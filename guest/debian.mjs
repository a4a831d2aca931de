// What building from Debian's archive takes: the mirror, apt's way to the network, running programs.

import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';

export const SUITE = 'trixie';
export const BACKPORTS = 'trixie-backports';
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
const EXIT_PERMISSION = 4;
export const EXIT_PRECONDITION = 5;

/** An apt target of a suite of Debian itself, as against its security archive and third parties. */
const DEBIAN_SUITE =
  /^((old)*stable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)(-updates|-backports)?$/;

/** A reason why something cannot be built. */
export class RigError extends Error {
  constructor(message, exitCode, hint) {
    super(message);
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

/** @throws {RigError} when this machine cannot build a Debian root */
export function checkMachine() {
  const missing = ['apt-get', 'dpkg-deb', 'mmdebstrap'].filter((tool) => !isOnPath(tool));
  if (process.arch !== 'x64') {
    throw new RigError(`the rig is amd64 and this machine is ${process.arch}`, EXIT_PRECONDITION);
  }
  if (process.getuid() !== 0) {
    throw new RigError(
      'EPERM only root can build a Debian root',
      EXIT_PERMISSION,
      'run it as root',
    );
  }
  if (missing.length > 0) {
    const hint = missing.includes('apt-get')
      ? 'use a Debian machine or container'
      : `apt-get install ${missing.join(' ')}`;
    throw new RigError(`ENOENT ${missing.join(', ')} not found`, EXIT_PRECONDITION, hint);
  }
}

/**
 * The mirror that this machine's own apt uses for Debian.
 * @throws {RigError} when it has none
 */
export function debianMirror() {
  const chosen = process.env.XE_VFIO_DEBIAN_MIRROR;
  if (chosen !== undefined && chosen !== '') return chosen;
  const targets = execFileSync(
    'apt-get',
    ['indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)', 'Created-By: Packages'],
    { encoding: 'utf8' },
  );
  for (const target of targets.split('\n')) {
    const [uri, suite = '', component] = target.split(' ');
    if (component === 'main' && DEBIAN_SUITE.test(suite)) return uri.replace(/\/$/, '');
  }
  throw new RigError(
    'ENOENT apt of this machine has no source of Debian itself',
    EXIT_PRECONDITION,
    'name a mirror: XE_VFIO_DEBIAN_MIRROR=URL node guest/build-rig.mjs',
  );
}

/** How this machine's apt reaches the network; mmdebstrap starts apt with a configuration of its own. */
export function aptNetworkOptions() {
  const dump = execFileSync('apt-config', ['dump', 'Acquire'], { encoding: 'utf8' });
  return dump
    .split('\n')
    .filter((line) =>
      /^Acquire::\S*(Proxy|CAInfo|CAPath|Verify-Peer|Verify-Host)\S* "[^"]+";$/i.test(line),
    )
    .map((line) => line.replace(/;$/, ''));
}

/** Runs a program with its output on stderr. */
export function run(command, args) {
  const { error, status, signal } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (error !== undefined) throw error;
  if (status !== 0)
    throw new RigError(`${command} ended with ${signal ?? `exit code ${status}`}`, EXIT_FAILED);
}

export function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function isOnPath(tool) {
  return (process.env.PATH ?? '')
    .split(path.delimiter)
    .some((directory) => fs.existsSync(path.join(directory, tool)));
}
