/**
 * The halves of the real machine that need no Intel GPU, proved in a guest of the rig on its stock
 * kernel: a PCI function behind /dev/vfio with an IOMMU (igb's VF, edu), and a VFIO device of the
 * kernel that can be migrated (mtty). The programs that run in the guest are in guest/linux/proofs.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { proofsIn, runGuest } from '../../../guest/linux/boot.mjs';
import { findMtty } from '../../../guest/linux/mtty.mjs';
import { projectTrees } from '../../../guest/linux/project.mjs';
import { findRig } from '../../../guest/rig.mjs';

/** Under TCG on two busy cores; alone it takes a minute. */
const GUEST_TIMEOUT_MS = 600_000;
const STREAM = fileURLToPath(new URL('../../fixtures/golden/streams/bmg_min.bin', import.meta.url));

const PCI = [
  'vfio: what is not bound to VFIO is refused',
  'vfio: a VF describes itself',
  'vfio: configuration space through both virtualisations',
  'vfio: BARs by the descriptor and mapped',
  'vfio: DMA into memory and out of it',
  'vfio: memory is taken away while a transfer is under way',
  'vfio: memory that may only be read is not written',
  'vfio: every mapping is given back',
  'vfio: limits are named',
  'vfio: MSI of the device to an eventfd',
  'vfio: MSI-X of a VF to eventfds',
  'vfio: function-level reset of a VF',
  'vfio: error and request notices',
  'served: BARs, DMA, MSI and reset of edu through vfio-user',
  'served: a VF is reset when its VMM is gone, and taken by the next',
  'serve --pf: the VF behind vfio-pci and its PF behind files are one device',
];

const MTTY = [
  'mtty: the device describes itself',
  'mtty: a device that is open is refused',
  'mtty: every state and every arc',
  'mtty: illegal states change nothing',
  'mtty: pre-copy, its info and its end',
  'mtty: the state goes from one device to the other by hand',
  'mtty: what the driver refuses keeps its errno',
  'mtty: DMA logging',
  'mtty: MSI to an eventfd',
  'mtty: a session migrates one device into the other, and rolls back',
  'mtty: the command line migrates, saves, restores and checks',
];

const { rig, reason: noRig } = findRig();
const mtty = rig === undefined ? { reason: noRig } : findMtty(rig);
const ready = rig !== undefined;

let directory = '';
let text = '';
let told: ReturnType<typeof proofsIn> = new Map();

beforeAll(async () => {
  if (rig === undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'xe-vfio-linux-guest-'));
  const programs = ['pci', 'composition', ...(mtty.module === undefined ? [] : ['mtty'])];
  text = await runGuest({
    rig,
    directory,
    extraModules: mtty.module === undefined ? [] : [mtty.module],
    trees: { ...projectTrees(), 'app/stream.bin': STREAM },
    command: programs.map((name) => `node /app/guest/linux/proofs/${name}.mjs`).join('; '),
    timeoutMs: GUEST_TIMEOUT_MS,
  });
  told = proofsIn(text);
}, GUEST_TIMEOUT_MS + 60_000);

afterAll(() => {
  if (directory !== '') rmSync(directory, { recursive: true, force: true });
});

/** The proof went well; else the reason, and all that the guest said when it said nothing of it. */
function expectProof(name: string): void {
  const proof = told.get(name);
  expect(proof, `the guest did not get to it:\n${text}`).toBeDefined();
  expect(proof?.error, proof?.error).toBeUndefined();
  expect(proof?.ok).toBe(true);
}

describe(`PCI functions behind /dev/vfio of a stock kernel${ready ? '' : ` (${noRig})`}`, () => {
  it.skipIf(!ready).each(PCI)('%s', expectProof);
});

describe(`a device of the kernel that migrates${mtty.module === undefined ? ` (${mtty.reason})` : ''}`, () => {
  it.skipIf(mtty.module === undefined).each(MTTY)('%s', expectProof);
});
