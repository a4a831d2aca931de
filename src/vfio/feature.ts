/**
 * The rules of VFIO_DEVICE_FEATURE: which checks there are and in which order, so that every way
 * into a device (a socket, a test) refuses the same requests with the same errno.
 *
 * Source: drivers/vfio/vfio_main.c:vfio_ioctl_device_feature and what it calls,
 * include/linux/vfio.h:vfio_check_feature.
 */
import type { ErrnoName } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { isPowerOfTwo } from '../base/int.ts';
import { VFIO_DEVICE_FEATURE, VFIO_FEATURE, VFIO_MIGRATION } from './uapi.ts';
import type { DmaLogRange } from './vfio-device.ts';

/** Bytes of `vfio_device_feature` before its data: u32 argsz, u32 flags. */
const FEATURE_HEADER_SIZE = 8;

/** What a device must be able to do before a feature exists at all. */
type FeatureNeed = 'migration' | 'precopy' | 'logging';

/** One feature of VFIO_DEVICE_FEATURE. */
export interface FeatureRule {
  /** `VFIO_FEATURE` number. */
  readonly feature: number;
  /** GET and SET bits of {@link VFIO_DEVICE_FEATURE} that it knows. */
  readonly ops: number;
  /**
   * Bytes of data that must at least have room after the header. The pointers that the ioctl has
   * at the end of DMA_LOGGING_START (ranges) and DMA_LOGGING_REPORT (bitmap) are not counted: in a
   * message the ranges and the bitmap themselves stand there.
   */
  readonly payload: number;
  readonly needs: FeatureNeed;
}

const { GET, SET, PROBE, MASK } = VFIO_DEVICE_FEATURE;

/** The features that a device of ours may have; every other number is ENOTTY. */
export const FEATURE_RULES: readonly FeatureRule[] = [
  { feature: VFIO_FEATURE.MIGRATION, ops: GET, payload: 8, needs: 'migration' },
  { feature: VFIO_FEATURE.MIG_DEVICE_STATE, ops: GET | SET, payload: 8, needs: 'migration' },
  { feature: VFIO_FEATURE.DMA_LOGGING_START, ops: SET, payload: 16, needs: 'logging' },
  { feature: VFIO_FEATURE.DMA_LOGGING_STOP, ops: SET, payload: 0, needs: 'logging' },
  { feature: VFIO_FEATURE.DMA_LOGGING_REPORT, ops: GET, payload: 24, needs: 'logging' },
  { feature: VFIO_FEATURE.MIG_DATA_SIZE, ops: GET, payload: 8, needs: 'migration' },
  { feature: VFIO_FEATURE.MIG_PRECOPY_INFOv2, ops: SET, payload: 0, needs: 'precopy' },
];

/** What a device says about itself. */
export interface FeatureSupport {
  /** `VFIO_MIGRATION` flags; 0 without migration. */
  readonly migrationFlags: number;
  /** True when it can log the pages it writes. */
  readonly dmaLogging: boolean;
}

/** A request that passed every check: what is left to do. */
export interface FeatureRequest {
  /** `VFIO_FEATURE` number. */
  readonly feature: number;
  /** PROBE asks for nothing more: the answer is yes. */
  readonly operation: 'PROBE' | 'GET' | 'SET';
  /** The least bytes of data after the header; a SET must bring as many. */
  readonly payload: number;
}

/** The errno of a feature that this device lacks, undefined when it has it. */
function lacking(
  { migrationFlags, dmaLogging }: FeatureSupport,
  need: FeatureNeed,
): ErrnoName | undefined {
  switch (need) {
    case 'migration':
      return migrationFlags === 0 ? 'ENOTTY' : undefined;
    case 'logging':
      return dmaLogging ? undefined : 'ENOTTY';
    case 'precopy':
      // Linux looks at the flag before it asks whether there is migration at all.
      return (migrationFlags & VFIO_MIGRATION.PRE_COPY) === 0 ? 'EINVAL' : undefined;
  }
}

/**
 * Judges the header of a VFIO_DEVICE_FEATURE request, in Linux's order.
 *
 * @param support what the device can do
 * @param argsz bytes that the caller has room for, header included
 * @param flags feature number and operation bits
 * @throws {Fault} EINVAL argsz below 8, unknown bits, GET with SET, an operation that the feature
 * lacks, no operation, no room for the data; ENOTTY a feature that the device lacks
 * Source: drivers/vfio/vfio_main.c:vfio_ioctl_device_feature
 */
export function checkFeature(
  support: FeatureSupport,
  argsz: number,
  flags: number,
): FeatureRequest {
  if (argsz < FEATURE_HEADER_SIZE)
    throw new Fault('EINVAL', `argsz ${argsz} is below ${FEATURE_HEADER_SIZE}`);
  if ((flags & ~(MASK | GET | SET | PROBE)) !== 0)
    throw new Fault('EINVAL', `feature flags 0x${(flags >>> 0).toString(16)} has unknown bits`);
  const probe = (flags & PROBE) !== 0;
  if (!probe && (flags & GET) !== 0 && (flags & SET) !== 0)
    throw new Fault('EINVAL', 'GET and SET exclude each other');
  const feature = flags & MASK;
  const rule = FEATURE_RULES.find((entry) => entry.feature === feature);
  if (rule === undefined) throw new Fault('ENOTTY', `there is no feature ${feature}`);
  const code = lacking(support, rule.needs);
  if (code !== undefined) throw new Fault(code, `this device lacks feature ${feature}`);
  const { payload } = rule;
  if ((flags & (GET | SET) & ~rule.ops) !== 0)
    throw new Fault('EINVAL', `feature ${feature} lacks this operation`);
  if (probe) return { feature, operation: 'PROBE', payload };
  if ((flags & (GET | SET)) === 0) throw new Fault('EINVAL', 'none of GET, SET and PROBE');
  if (argsz - FEATURE_HEADER_SIZE < payload)
    throw new Fault('EINVAL', `feature ${feature} needs ${payload} bytes of data`);
  return { feature, operation: (flags & GET) === 0 ? 'SET' : 'GET', payload };
}

/** The greatest count of ranges of DMA_LOGGING_START: as many as fit into a page. */
export const LOG_MAX_RANGES = 256;
/** The smallest page that dirty bits can stand for, bytes. */
export const LOG_MIN_PAGE_SIZE = 4096;

/** @throws {Fault} EINVAL when `pageSize` is below 4 KiB or no power of two */
export function checkLogPageSize(pageSize: number): void {
  if (pageSize < LOG_MIN_PAGE_SIZE || !isPowerOfTwo(pageSize))
    throw new Fault('EINVAL', `a log page size of ${pageSize} is no power of two from 4096 up`);
}

function rangeEnd({ iova, length }: DmaLogRange): number {
  const end = iova + length;
  if (!Number.isSafeInteger(end)) throw new Fault('EOVERFLOW', 'a logged range ends above 2^53-1');
  return end;
}

/**
 * Judges what DMA_LOGGING_START asks for.
 *
 * @throws {Fault} EINVAL for a bad page size, no range, unaligned, empty or overlapping ranges;
 * E2BIG above {@link LOG_MAX_RANGES}; EOVERFLOW for a range that ends above 2^53-1
 * Source: drivers/vfio/vfio_main.c:vfio_ioctl_device_feature_logging_start (an empty range makes
 * Linux's interval tree misbehave, so it is refused here)
 */
export function checkLogRanges(pageSize: number, ranges: readonly DmaLogRange[]): void {
  checkLogPageSize(pageSize);
  if (ranges.length === 0) throw new Fault('EINVAL', 'there is no range to log');
  if (ranges.length > LOG_MAX_RANGES)
    throw new Fault('E2BIG', `${ranges.length} ranges are above ${LOG_MAX_RANGES}`);
  for (const range of ranges) {
    if (range.iova % pageSize !== 0 || range.length % pageSize !== 0 || range.length === 0) {
      // Above 2^53-1 there is no telling whether an address is aligned.
      rangeEnd(range);
      throw new Fault('EINVAL', 'a logged range is empty or not whole pages');
    }
    rangeEnd(range);
  }
  const sorted = [...ranges].sort((a, b) => a.iova - b.iova);
  let end = 0;
  for (const range of sorted) {
    if (range.iova < end) throw new Fault('EINVAL', 'two logged ranges overlap');
    end = range.iova + range.length;
  }
}

/** Bytes of the bitmap that reports `length` bytes: whole u64 words, one bit a page. */
export function logBitmapSize(length: number, pageSize: number): number {
  return Math.ceil(Math.ceil(length / pageSize) / 64) * 8;
}

/**
 * Judges what DMA_LOGGING_REPORT asks for, all but the room for its bitmap.
 *
 * @throws {Fault} EINVAL for a page size below 4 KiB or no power of two, EOVERFLOW for a range that
 * ends above 2^53-1
 * Source: drivers/vfio/vfio_main.c:vfio_ioctl_device_feature_logging_report
 */
export function checkLogReport(iova: number, length: number, pageSize: number): void {
  checkLogPageSize(pageSize);
  rangeEnd({ iova, length });
}
