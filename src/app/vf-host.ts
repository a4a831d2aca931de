/** Where served VFs come from: an emulated GPU, or one of this machine. */
import type { CounterSnapshot } from '../gpu/counters.ts';
import type { VfDigests } from '../gpu/digests.ts';
import type { VfProfile } from '../migration/vf-profile.ts';
import type { RelayVersion } from '../pf/pf-service.ts';
import type { XeVfioPci } from '../xe-vfio-pci/xe-vfio-pci.ts';

/** One PF and its VFs. */
export interface VfHost {
  /** Opens a VF through the variant driver, which resets it. @throws {Fault} ENODEV, EBUSY ... */
  open(vfid: number): Promise<XeVfioPci>;
  /** Lets go of a VF whose device is closed. Idempotent. */
  release(vfid: number): Promise<void>;
  /** What a VF is and has. @throws {Fault} EINVAL when it is not enabled */
  profile(vfid: number): VfProfile;
  /** SHA-256 of each resource of a VF. @throws {Fault} ENODEV; EOPNOTSUPP for a real one */
  digests(vfid: number): VfDigests;
  /** What was counted of a VF. @throws {Fault} ENODEV; EOPNOTSUPP for a real one */
  counters(vfid: number): CounterSnapshot;
  /** Where the VF's part of the GGTT begins; undefined when that is not known. */
  ggttStart(vfid: number): number | undefined;
  /**
   * True while the VF's driver starts or leaves and could not recover from a move; false when that is
   * not known.
   */
  unready(vfid: number): boolean;
  /** What the VF's driver agreed on with the PF's; undefined for nothing, or when it is not known. */
  relayVersion(vfid: number): RelayVersion | undefined;
  /**
   * Lets a VF in STOP whose state was restored go on without a word to its driver.
   * @param relayVersion what the driver agreed on where it came from
   * @throws {Fault} EINVAL in another state; EPERM, ENOPKG for a version that is not spoken here;
   * EOPNOTSUPP for a real one
   */
  resumeUnnoticed(vfid: number, relayVersion: RelayVersion | undefined): void;
  /** Lets go of everything; devices were closed before. Idempotent. */
  close(): void | Promise<void>;
}
