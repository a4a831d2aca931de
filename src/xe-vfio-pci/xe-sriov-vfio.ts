/**
 * The contract of the PF driver towards the variant driver: the calls that Linux's `xe` exports to
 * `xe-vfio-pci`, one to one. `vfid` is 1-based.
 *
 * Every call but `migrationSupported` throws a Fault EPERM when the device is no PF and EINVAL when
 * `vfid` is 0 or above the number of enabled VFs.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_vfio.c, include/drm/intel/xe_sriov_vfio.h.
 */
import type { PrecopyInfo } from '../vfio/vfio-device.ts';

/** How far a pre-copy has come. */
export interface PrecopyProgress extends PrecopyInfo {
  /** Times that all VRAM was compared with what was sent, after it had been sent once. */
  readonly passes: number;
}

/**
 * Saving a VF that still runs. Not among Linux's exports: a PF driver that has no such thing leaves
 * it out, and its VFs have no PRE_COPY.
 */
export interface XeSriovPrecopy {
  /** True when the memory of this VF can be tracked. */
  supported(vfid: number): boolean;
  /**
   * Starts to save a VF, running or paused. `dataRead` then gives its VRAM and throws ENOMSG at a
   * momentary end, until `stopCopyEnter` adds the rest to the same stream.
   * @throws {Fault} EPERM stopped, EBUSY, EALREADY
   */
  enter(vfid: number): Promise<void>;
  /** Ends it before `stopCopyEnter`; the VF goes on unharmed. */
  exit(vfid: number): Promise<void>;
  /**
   * Bytes that are left.
   * @param mayReinit true when the caller knows of REINIT
   * @throws {Fault} EINVAL outside of a pre-copy
   */
  progress(vfid: number, mayReinit: boolean): PrecopyProgress;
}

/** The PF driver's exports. */
export interface XeSriovVfio {
  /** Pre-copy, where the PF has it. */
  readonly precopy?: XeSriovPrecopy | undefined;

  /** True when this PF can migrate its VFs. */
  migrationSupported(): boolean;
  /** Why it cannot, in one sentence; undefined when it can. */
  migrationUnsupportedReason(): string | undefined;

  /** Marks a function-level reset as coming. */
  flrPrepare(vfid: number): Promise<void>;
  /** Waits until the PF has finished its part of a reset. @throws {Fault} ETIMEDOUT, EIO, EUCLEAN */
  waitFlrDone(vfid: number): Promise<void>;

  /**
   * Pauses the VF on every GT.
   * @throws {Fault} EUCLEAN, EIO, ETIMEDOUT ...; the VF then runs on, as before the call
   * @throws {DeviceFault} when it could not be brought back to running
   */
  suspendDevice(vfid: number): Promise<void>;
  /** Lets the VF run again. @throws {DeviceFault} when a GT refuses */
  resumeDevice(vfid: number): Promise<void>;

  /**
   * Starts to save a paused VF, or ends the pre-copy of one: the same stream goes on to its end.
   * @throws {Fault} EPERM not paused, EBUSY, EALREADY
   */
  stopCopyEnter(vfid: number): Promise<void>;
  /** Ends saving, also before everything was read: the VF stays paused and unharmed. */
  stopCopyExit(vfid: number): Promise<void>;

  /** Starts to restore a paused VF. @throws {Fault} EPERM not paused, EBUSY, EALREADY */
  resumeDataEnter(vfid: number): Promise<void>;
  /**
   * Ends restoring.
   * @throws {StreamFault} the first error of the stream, ETIMEDOUT when the trailer is missing;
   * only a reset then recovers the VF
   */
  resumeDataExit(vfid: number): Promise<void>;

  /** Stops the VF for good, until a reset. */
  error(vfid: number): Promise<void>;

  /** Bytes that saving would deliver, exactly. @throws {Fault} ENOPKG when unsupported, ENODATA, EIO */
  stopCopySize(vfid: number): Promise<number>;

  /** The next bytes of the saved stream; see `MigrationData.read`. */
  dataRead(vfid: number, max: number): Promise<readonly Uint8Array[]>;
  /** Takes the next bytes of the stream to restore; see `MigrationData.write`. */
  dataWrite(vfid: number, source: Uint8Array): Promise<void>;
  /** See `MigrationData.window`. */
  dataWindow(vfid: number, max: number): Uint8Array | undefined;
  /** See `MigrationData.commit`. */
  dataCommit(vfid: number, length: number): Promise<void>;
}
