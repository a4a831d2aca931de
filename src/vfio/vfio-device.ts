/**
 * The contract of a VFIO device: what Linux VFIO promises a VMM, without the file descriptors.
 *
 * Implemented by the variant driver (src/xe-vfio-pci), by the vfio-user client (src/vfio-user)
 * and by a kernel VFIO device, so that every tool works on all of them, in any pairing.
 *
 * Region access and DMA_MAP are synchronous: they are the hot path. Whatever may have to wait for
 * hardware is a promise.
 */
import type { MigState } from './migration-state.ts';

/** `vfio_device_info` without sizes. */
export interface DeviceInfo {
  /** Bits of {@link VFIO_DEVICE_FLAGS}. */
  readonly flags: number;
  readonly numRegions: number;
  readonly numIrqs: number;
}

/** A part of a region that may be mapped, in bytes from the region's start, page aligned. */
export interface MmapArea {
  readonly offset: number;
  readonly size: number;
  /** Descriptor to map, borrowed from the device. */
  readonly fd: number;
  /** Where the area begins in that descriptor. */
  readonly fdOffset: number;
}

/** `vfio_region_info`; the MMAP and CAPS flags follow from `areas`. */
export interface RegionInfo {
  readonly index: number;
  /** READ and WRITE bits of {@link VFIO_REGION_INFO_FLAG}, MMAP when `areas` is not empty. */
  readonly flags: number;
  /** Bytes; 0 when the device does not have this region. */
  readonly size: number;
  readonly areas: readonly MmapArea[];
}

/** `vfio_irq_info`. */
export interface IrqInfo {
  readonly index: number;
  /** Bits of {@link VFIO_IRQ_INFO}. */
  readonly flags: number;
  readonly count: number;
}

/** `vfio_irq_set` with its data decoded. */
export interface IrqSet {
  /** Bits of {@link VFIO_IRQ_SET}: one data type, one action. */
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** DATA_BOOL: one byte a vector. */
  readonly bools?: Uint8Array;
  /**
   * DATA_EVENTFD: one descriptor a vector, -1 for none. The device takes them over on success and
   * on failure alike: it closes what it does not keep.
   */
  readonly fds?: readonly number[];
}

/** One range of guest memory that the device may reach. */
export interface DmaMapping {
  /** First I/O virtual address, bytes, page aligned. */
  readonly iova: number;
  /** Bytes, page aligned, not 0. */
  readonly size: number;
  /** Bits of {@link VFIO_DMA_MAP_FLAG}. */
  readonly flags: number;
  /** The mapped memory as the device sees it, read and written in place or by messages. */
  readonly memory: DmaMemory;
}

/** How the bytes of one {@link DmaMapping} are reached. */
export interface DmaMemory {
  /** The memory itself, in windows of at most 2 GiB, when it is mapped here; else undefined. */
  readonly windows: readonly Uint8Array[] | undefined;
  /**
   * Where the pages themselves lie in this process, as one piece, for an IOMMU of the machine;
   * undefined when they are not mapped here. To be asked for while `dmaMap` takes the mapping over,
   * and valid until `dmaUnmap` has let go of it. Absent where it can never be.
   */
  nativeAddress?(): number | undefined;
  /** Copies bytes at `offset` in the mapping into `target`. @throws {Fault} EACCES, EIO */
  read(offset: number, target: Uint8Array): void;
  /** Copies `source` to `offset` in the mapping. @throws {Fault} EACCES when read-only, EIO */
  write(offset: number, source: Uint8Array): void;
}

/** A range whose written pages are to be reported; `DMA_LOGGING_START`. */
export interface DmaLogRange {
  readonly iova: number;
  readonly length: number;
}

/** The migration data descriptor of STOP_COPY, PRE_COPY and RESUMING. */
export interface MigrationData {
  readonly direction: 'read' | 'write';
  /**
   * The next bytes of the stream, at most `max`, as views that stay valid until the next call.
   * Fewer than `max` only at the end; none after it. Bytes lie where the state lies: nothing is
   * copied.
   *
   * @throws {Fault} ENODEV after the session ended, EINVAL on a write file, EIO when saving failed,
   * ENOMSG at a momentary end of pre-copy
   */
  read(max: number): Promise<readonly Uint8Array[]>;
  /**
   * Takes the next bytes of the stream, all or none of them.
   *
   * @throws {Fault} ENODEV after the session ended; the first error of the stream, again and again
   */
  write(source: Uint8Array): Promise<void>;
  /**
   * Where the next bytes of the stream will lie: a view of at most `max` bytes of the final
   * destination to receive into, before `commit` says how many came. Undefined when the next
   * bytes must pass through {@link write}.
   */
  window(max: number): Uint8Array | undefined;
  /** Tells that the first `length` bytes of the last {@link window} are in. */
  commit(length: number): Promise<void>;
  /** Ends the use of this file; the migration session itself goes on. Idempotent. */
  close(): void;
}

/** `vfio_precopy_info`. */
export interface PrecopyInfo {
  readonly initialBytes: number;
  readonly dirtyBytes: number;
  /** True when the initial bytes start again (REINIT, only after the v2 opt-in). */
  readonly reinit: boolean;
  /**
   * Estimate of the milliseconds that entering STOP_COPY takes, where the device can tell; undefined
   * while it does not know yet.
   */
  readonly stopMs?: number | undefined;
  /** Milliseconds for which a change may go unnoticed, as {@link stopMs}. */
  readonly staleMs?: number | undefined;
}

/** What Linux VFIO promises a VMM about one device. */
export interface VfioDevice {
  readonly info: DeviceInfo;
  /** @throws {Fault} EINVAL when the device has no region `index` */
  regionInfo(index: number): RegionInfo;
  /** @throws {Fault} EINVAL when the device has no interrupt `index` */
  irqInfo(index: number): IrqInfo;
  /** `VFIO_DEVICE_SET_IRQS`. @throws {Fault} EINVAL, ENOTTY as vfio-pci does */
  setIrqs(set: IrqSet): void;
  /**
   * Reads `count` bytes at `offset` of region `index` into `bytes` from position `at`.
   * @throws {Fault} EINVAL outside the region
   */
  regionRead(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void;
  /**
   * Writes `count` bytes of `bytes` from position `at` to `offset` of region `index`.
   * @returns nothing when done, or a promise when the write started something the reply must wait
   * for (a function-level reset through DEVCTL)
   * @throws {Fault} EINVAL outside the region
   */
  regionWrite(
    index: number,
    offset: number,
    bytes: Uint8Array,
    at: number,
    count: number,
  ): void | Promise<void>;
  /** @throws {Fault} EEXIST when any part is mapped, EINVAL for bad sizes, ENOSPC at the limit */
  dmaMap(mapping: DmaMapping): void;
  /** Forgets the mapping of exactly this range. @throws {Fault} ENOENT when there is none */
  dmaUnmap(iova: number, size: number): void;
  /** Forgets every mapping. */
  dmaUnmapAll(): void;
  /** `VFIO_DEVICE_RESET`. @throws {Fault} EINVAL when the device cannot be reset */
  reset(): Promise<void>;

  /** `VFIO_MIGRATION` flags; 0 when the device cannot be migrated (feature 1 is then ENOTTY). */
  readonly migrationFlags: number;
  /** The migration state, also ERROR. @throws {Fault} ENOTTY without migration */
  migrationState(): Promise<MigState>;
  /**
   * Walks to `state`, one arc at a time.
   * @returns the data file that the last arc opened, else undefined
   * @throws {Fault} ENOTTY without migration, EINVAL for an illegal state (nothing changes), else
   * the errno of the arc that failed
   */
  setMigrationState(state: number): Promise<MigrationData | undefined>;
  /** Bytes that STOP_COPY would deliver now, exactly. @throws {Fault} ENOTTY, EIO ... */
  migrationDataSize(): Promise<number>;
  /** True when {@link migrationDataSize} is not exact but what the driver expects, as in Linux. */
  readonly migrationDataSizeIsEstimate?: boolean;
  /** @throws {Fault} ENOTTY without pre-copy, EINVAL outside PRE_COPY and PRE_COPY_P2P */
  precopyInfo(): Promise<PrecopyInfo>;
  /** Opts in to version 2 of the pre-copy info. @throws {Fault} EINVAL without pre-copy */
  enablePrecopyInfoV2(): void;
  /** True once {@link enablePrecopyInfoV2} was called, until the device is closed. */
  readonly precopyInfoV2?: boolean;

  /** True when the device can log its writes; without it the three below are ENOTTY. */
  readonly dmaLogging?: boolean;
  /** Starts to log the pages the device writes. @throws {Fault} ENOTTY when it cannot log */
  dmaLoggingStart(pageSize: number, ranges: readonly DmaLogRange[]): void;
  /** @throws {Fault} ENOTTY when it cannot log */
  dmaLoggingStop(): void;
  /**
   * Sets a bit for each written page of the range in `bitmap` and forgets them.
   * @throws {Fault} ENOTTY when it cannot log, EINVAL when it does not log now
   */
  dmaLoggingReport(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void;

  /** Ends the use of the device, as the last close of its descriptor. Idempotent. */
  close(): Promise<void>;
}
