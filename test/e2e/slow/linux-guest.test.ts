/**
 * The halves of the real machine that need no Intel GPU, proved in a guest of the rig on its stock
 * kernel: a PCI function behind /dev/vfio with an IOMMU (igb's VF, edu), and a VFIO device of the
 * kernel that can be migrated (mtty). The programs that run in the guest are in guest/linux/proofs.
 */
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { findModules } from '../../../guest/linux/modules.mjs';
import { findRig, type Rig } from '../../../guest/rig.mjs';
import { type LinuxGuestOptions, proofsIn, runLinuxGuest } from '../../support/linux-guest.ts';

/** Under TCG on two busy cores; alone it takes a minute. */
const GUEST_TIMEOUT_MS = 600_000;
const HOOK_TIMEOUT_MS = GUEST_TIMEOUT_MS + 60_000;
const STREAM = fileURLToPath(new URL('../../fixtures/golden/streams/bmg_min.bin', import.meta.url));

/** igb, and what VFIO stands on. */
const BASE_MODULES = ['dca', 'i2c_algo_bit', 'igb', 'irqbypass'];
const VFIO_MODULES = ['vfio', 'vfio_iommu_type1', 'vfio_pci_core', 'vfio_pci', 'mdev'];

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
];

const COMPOSITION = 'serve --pf: the VF behind vfio-pci and its PF behind files are one device';

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
];

const MTTY_CLI = 'mtty: the command line migrates, saves, restores and checks';

const { rig, reason: noRig } = findRig();
const { modules, reason: noModules } = rig === undefined ? { reason: noRig } : findModules(rig);

/** One boot of the guest and what it told. */
class Boot {
  #text = '';
  #told: ReturnType<typeof proofsIn> = new Map();

  async run(
    from: Rig,
    programs: readonly string[],
    loaded: Pick<LinuxGuestOptions, 'modules' | 'moduleFiles'>,
  ): Promise<void> {
    this.#text = await runLinuxGuest({
      ...loaded,
      rig: from,
      files: { 'app/stream.bin': STREAM },
      command: programs.map((name) => `node /app/guest/linux/proofs/${name}.mjs`).join('; '),
      timeoutMs: GUEST_TIMEOUT_MS,
    });
    this.#told = proofsIn(this.#text);
  }

  /** The proof went well; else the reason, and all that the guest said when it said nothing of it. */
  expectProof(name: string): void {
    const proof = this.#told.get(name);
    expect(proof, `the guest did not get to it:\n${this.#text}`).toBeDefined();
    expect(proof?.error, proof?.error).toBeUndefined();
    expect(proof?.ok).toBe(true);
  }
}

/** For a title: why its tests are skipped. */
function because(reason: string | undefined): string {
  return reason === undefined ? '' : ` (${reason})`;
}

describe('a stock kernel', () => {
  const boot = new Boot();

  beforeAll(async () => {
    if (rig === undefined) return;
    const programs = ['pci', 'composition', ...(modules === undefined ? [] : ['mtty'])];
    await boot.run(rig, programs, {
      modules: [...BASE_MODULES, ...VFIO_MODULES],
      moduleFiles: modules === undefined ? [] : [modules.mtty],
    });
  }, HOOK_TIMEOUT_MS);

  describe(`PCI functions behind /dev/vfio${because(noRig)}`, () => {
    it.skipIf(rig === undefined).each(PCI)('%s', (name) => boot.expectProof(name));
    it.skipIf(rig === undefined)(COMPOSITION, () => boot.expectProof(COMPOSITION));
  });

  describe(`a device of the kernel that migrates${because(noModules)}`, () => {
    it.skipIf(modules === undefined).each([...MTTY, MTTY_CLI])('%s', (name) => {
      boot.expectProof(name);
    });
  });
});

describe(`the same kernel with iommufd and device files${because(noModules)}`, () => {
  const boot = new Boot();

  beforeAll(async () => {
    if (rig === undefined || modules === undefined) return;
    await boot.run(rig, ['pci', 'mtty'], {
      modules: BASE_MODULES,
      moduleFiles: modules.iommufd,
    });
  }, HOOK_TIMEOUT_MS);

  it.skipIf(modules === undefined).each([...PCI, ...MTTY])('%s', (name) => boot.expectProof(name));
});
