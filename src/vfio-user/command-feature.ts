/**
 * DEVICE_FEATURE: what VFIO_DEVICE_FEATURE is, with the data in the message.
 *
 * Source: QEMU docs/interop/vfio-user.rst; the order of the checks is in src/vfio/feature.ts.
 */
import { Fault } from '../base/fault.ts';
import { checkFeature, checkLogRanges, checkLogReport, logBitmapSize } from '../vfio/feature.ts';
import { VFIO_FEATURE } from '../vfio/uapi.ts';
import type { DmaLogRange, VfioDevice } from '../vfio/vfio-device.ts';
import { CODECS } from './codecs.ts';
import { demand, type Request } from './request.ts';

/** What the handlers need beside the request. */
export interface FeatureContext {
  readonly device: VfioDevice;
  /** Greatest reply, bytes. */
  readonly maxDataXferSize: number;
  /** Whether the device can log the pages that it writes. */
  readonly dmaLogging: boolean;
  /** Changes the migration state on behalf of this client. @throws {Fault} EBUSY ... */
  setState(state: number): Promise<void>;
  /** This client has started the log of DMA writes, or has ended it. */
  logging(started: boolean): void;
}

const HEADER = CODECS.feature.size;
/** "All of memory", in whole pages. */
const EVERYTHING: DmaLogRange = { iova: 0, length: 2 ** 52 };

/** Writes the header of a GET's reply. @returns bytes of the payload with `data` bytes of data */
function replyHeader(request: Request, flags: number, data: number): number {
  CODECS.feature.write(request.reply, request.replyAt, { argsz: HEADER + data, flags });
  return HEADER + data;
}

function startLogging(request: Request, device: VfioDevice): void {
  const at = request.at + HEADER;
  const { pageSize, numRanges } = CODECS.featureLogControl.read(request.view, at);
  const first = at + CODECS.featureLogControl.size;
  const size = CODECS.featureLogRange.size;
  const room = request.at + request.length - first;
  demand(room === numRanges * size, `${room} bytes for ${numRanges} ranges`);
  const ranges: DmaLogRange[] = [];
  for (let index = 0; index < numRanges; index++)
    ranges.push(CODECS.featureLogRange.read(request.view, first + index * size));
  // Unlike in Linux no range at all means everything.
  if (ranges.length === 0) ranges.push(EVERYTHING);
  checkLogRanges(pageSize, ranges);
  device.dmaLoggingStart(pageSize, ranges);
}

function reportLogging(
  request: Request,
  { device, maxDataXferSize }: FeatureContext,
  { argsz, flags }: { argsz: number; flags: number },
): number {
  const size = CODECS.featureLogReport.size;
  demand(request.length >= HEADER + size, 'the range to report is missing');
  const range = CODECS.featureLogReport.read(request.view, request.at + HEADER);
  const { iova, length, pageSize } = range;
  checkLogReport(iova, length, pageSize);
  demand(length > 0, 'an empty range to report');
  const bitmapSize = logBitmapSize(length, pageSize);
  demand(bitmapSize <= maxDataXferSize, `a bitmap of ${bitmapSize} bytes`, 'E2BIG');
  const needed = HEADER + size + bitmapSize;
  const complete = argsz >= needed;
  if (complete) {
    const bitmap = new Uint8Array(bitmapSize);
    device.dmaLoggingReport(iova, length, pageSize, bitmap);
    request.replyTail = [bitmap];
  }
  CODECS.feature.write(request.reply, request.replyAt, { argsz: needed, flags });
  CODECS.featureLogReport.write(request.reply, request.replyAt + HEADER, range);
  return HEADER + size;
}

async function getFeature(
  request: Request,
  context: FeatureContext,
  header: { argsz: number; flags: number },
  feature: number,
): Promise<number> {
  const { device } = context;
  const at = request.replyAt + HEADER;
  switch (feature) {
    case VFIO_FEATURE.MIGRATION: {
      CODECS.featureMigration.write(request.reply, at, { flags: device.migrationFlags });
      return replyHeader(request, header.flags, CODECS.featureMigration.size);
    }
    case VFIO_FEATURE.MIG_DEVICE_STATE: {
      const deviceState = await device.migrationState();
      // The data descriptor has no use here: -1, as a GET in Linux.
      CODECS.featureDeviceState.write(request.reply, at, { deviceState, dataFd: 0xffffffff });
      return replyHeader(request, header.flags, CODECS.featureDeviceState.size);
    }
    case VFIO_FEATURE.MIG_DATA_SIZE: {
      const stopCopyLength = await device.migrationDataSize();
      CODECS.featureDataSize.write(request.reply, at, { stopCopyLength });
      return replyHeader(request, header.flags, CODECS.featureDataSize.size);
    }
    case VFIO_FEATURE.DMA_LOGGING_REPORT:
      return reportLogging(request, context, header);
    default:
      throw new Fault('ENOTTY', `there is no feature ${feature} to get`);
  }
}

async function setFeature(
  request: Request,
  { device, setState, logging }: FeatureContext,
  feature: number,
): Promise<number> {
  // What the reply says is what the request said; it must outlast the operation.
  const length = request.echo(request.length);
  switch (feature) {
    case VFIO_FEATURE.MIG_DEVICE_STATE: {
      const { deviceState } = CODECS.featureDeviceState.read(request.view, request.at + HEADER);
      await setState(deviceState);
      return length;
    }
    case VFIO_FEATURE.DMA_LOGGING_START:
      startLogging(request, device);
      logging(true);
      return length;
    case VFIO_FEATURE.DMA_LOGGING_STOP:
      device.dmaLoggingStop();
      logging(false);
      return length;
    case VFIO_FEATURE.MIG_PRECOPY_INFOv2:
      device.enablePrecopyInfoV2();
      return length;
    default:
      throw new Fault('ENOTTY', `there is no feature ${feature} to set`);
  }
}

/**
 * DEVICE_FEATURE.
 *
 * @returns bytes of the reply's payload
 * @throws {Fault} as VFIO_DEVICE_FEATURE; EINVAL also when data that belongs to it is missing
 */
export async function deviceFeature(request: Request, context: FeatureContext): Promise<number> {
  const header = request.decode('feature');
  const support = {
    migrationFlags: context.device.migrationFlags,
    dmaLogging: context.dmaLogging,
  };
  const { feature, operation, payload } = checkFeature(support, header.argsz, header.flags);
  demand(request.length <= request.replyBytes.length - request.replyAt, 'too much data', 'E2BIG');
  if (operation === 'PROBE') return request.echo(request.length);
  if (operation === 'GET') return getFeature(request, context, header, feature);
  demand(request.length >= HEADER + payload, `feature ${feature} lacks its data`);
  return setFeature(request, context, feature);
}
