/**
 * DEVICE_FEATURE from a client's side: migration state, size of the state, DMA logging.
 *
 * Source: QEMU docs/interop/vfio-user.rst, VFIO_USER_DEVICE_FEATURE.
 */
import { Fault } from '../base/fault.ts';
import { logBitmapSize } from '../vfio/feature.ts';
import { MIG_STATE, type MigState, migStateName } from '../vfio/migration-state.ts';
import {
  VFIO_DEVICE_FEATURE,
  VFIO_FEATURE,
  VFIO_MIGRATION,
  VFIO_PRECOPY_INFO,
} from '../vfio/uapi.ts';
import type { DmaLogRange, PrecopyInfo } from '../vfio/vfio-device.ts';
import type { ClientLink } from './client-link.ts';
import { CODECS } from './codecs.ts';
import { HEADER_SIZE, VFIO_USER } from './protocol.ts';

const { GET, SET } = VFIO_DEVICE_FEATURE;
const HEADER = CODECS.feature.size;
const NO_DATA_FD = 0xffffffff;
/** Greatest bitmap asked for at once: the reply must fit the small buffer. */
const MAX_BITMAP = 32768;

/** What servers say to a command that they do not know. */
const UNKNOWN_COMMAND: readonly string[] = ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'ENOTTY'];

const GREATEST_STATE = Math.max(...Object.values(MIG_STATE));

/** The features of one connection. */
export class ClientFeatures {
  readonly #link: ClientLink;
  readonly #slowTimeoutMs: number;
  readonly #maxBitmap: number;
  /** False once the server turned out not to know MIG_GET_PRECOPY_INFO. */
  #asksPrecopy = true;

  /** @param maxDataXferSize greatest transfer that the server takes, bytes */
  constructor(link: ClientLink, slowTimeoutMs: number, maxDataXferSize: number) {
    this.#link = link;
    this.#slowTimeoutMs = slowTimeoutMs;
    // Whole words.
    this.#maxBitmap = Math.min(MAX_BITMAP, Math.max(8, Math.floor(maxDataXferSize / 8) * 8));
  }

  /** GETs `size` bytes of feature data. @returns a view of them */
  async #get(feature: number, size: number): Promise<DataView> {
    const { payload, view } = await this.#link.request(
      VFIO_USER.DEVICE_FEATURE,
      (tx, at) => {
        CODECS.feature.write(tx, at, { argsz: HEADER + size, flags: GET | feature });
        return HEADER;
      },
      this.#slowTimeoutMs,
    );
    if (payload.length < HEADER + size)
      throw new Fault('EPROTO', `${payload.length} bytes of feature ${feature}`);
    return new DataView(view.buffer, view.byteOffset + HEADER, size);
  }

  async state(): Promise<MigState> {
    const view = await this.#get(VFIO_FEATURE.MIG_DEVICE_STATE, CODECS.featureDeviceState.size);
    const { deviceState } = CODECS.featureDeviceState.read(view, 0);
    if (deviceState > GREATEST_STATE)
      throw new Fault('EPROTO', `the server reports state ${deviceState}`);
    return deviceState as MigState;
  }

  async setState(deviceState: number): Promise<void> {
    const size = HEADER + CODECS.featureDeviceState.size;
    const flags = SET | VFIO_FEATURE.MIG_DEVICE_STATE;
    await this.#link.request(
      VFIO_USER.DEVICE_FEATURE,
      (tx, at) => {
        CODECS.feature.write(tx, at, { argsz: size, flags });
        CODECS.featureDeviceState.write(tx, at + HEADER, { deviceState, dataFd: NO_DATA_FD });
        return size;
      },
      this.#slowTimeoutMs,
    );
  }

  async dataSize(): Promise<number> {
    const view = await this.#get(VFIO_FEATURE.MIG_DATA_SIZE, CODECS.featureDataSize.size);
    const { stopCopyLength } = CODECS.featureDataSize.read(view, 0);
    if (!Number.isSafeInteger(stopCopyLength))
      throw new Fault('EPROTO', 'the server reports a state above 2^53-1 bytes');
    return stopCopyLength;
  }

  /** @param migrationFlags `VFIO_MIGRATION` flags of the device */
  async precopyInfo(migrationFlags: number): Promise<PrecopyInfo> {
    if ((migrationFlags & VFIO_MIGRATION.PRE_COPY) === 0)
      throw new Fault('ENOTTY', 'this device has no pre-copy');
    if (this.#asksPrecopy) {
      try {
        return await this.#askPrecopy();
      } catch (error) {
        if (!(error instanceof Fault) || !UNKNOWN_COMMAND.includes(error.code)) throw error;
      }
    }
    const info = await this.#guessPrecopy();
    this.#asksPrecopy = false;
    return info;
  }

  /** What a server of ours answers. */
  async #askPrecopy(): Promise<PrecopyInfo> {
    const argsz = CODECS.precopyInfo.size + CODECS.precopyStop.size;
    const { payload, view } = await this.#link.request(
      VFIO_USER.MIG_GET_PRECOPY_INFO,
      (tx, at) => {
        const zeros = { flags: 0, initialBytes: 0, dirtyBytes: 0 };
        CODECS.precopyInfo.write(tx, at, { argsz, ...zeros });
        return CODECS.precopyInfo.size;
      },
      this.#slowTimeoutMs,
    );
    if (payload.length < CODECS.precopyInfo.size)
      throw new Fault('EPROTO', `${payload.length} bytes of pre-copy info`);
    const { flags, initialBytes, dirtyBytes } = CODECS.precopyInfo.read(view, 0);
    const reinit = (flags & VFIO_PRECOPY_INFO.REINIT) !== 0;
    if (payload.length < argsz) return { initialBytes, dirtyBytes, reinit };
    const { stopUs, staleUs } = CODECS.precopyStop.read(view, CODECS.precopyInfo.size);
    const ms = (us: number) => (us >= Number.MAX_SAFE_INTEGER ? undefined : us / 1000);
    return { initialBytes, dirtyBytes, reinit, stopMs: ms(stopUs), staleMs: ms(staleUs) };
  }

  /** The protocol itself has no such question: all that is left counts as dirty. */
  async #guessPrecopy(): Promise<PrecopyInfo> {
    const state = await this.state();
    if (state !== MIG_STATE.PRE_COPY && state !== MIG_STATE.PRE_COPY_P2P)
      throw new Fault('EINVAL', `there is no pre-copy in ${migStateName(state)}`);
    return { initialBytes: 0, dirtyBytes: await this.dataSize(), reinit: false };
  }

  /** A synchronous feature call; `write` writes the data behind the header. */
  #call(flags: number, argsz: number, write: (view: DataView, at: number) => number): void {
    const link = this.#link;
    link.begin();
    const { txView } = link.channel;
    const length = write(txView, HEADER_SIZE + HEADER);
    CODECS.feature.write(txView, HEADER_SIZE, { argsz, flags });
    link.call(VFIO_USER.DEVICE_FEATURE, HEADER + length);
  }

  enablePrecopyInfoV2(): void {
    this.#call(SET | VFIO_FEATURE.MIG_PRECOPY_INFOv2, HEADER, () => 0);
  }

  /** @throws {Fault} E2BIG for more ranges than fit a message */
  startLogging(pageSize: number, ranges: readonly DmaLogRange[]): void {
    const control = CODECS.featureLogControl;
    const size = control.size + ranges.length * CODECS.featureLogRange.size;
    if (size > MAX_BITMAP) throw new Fault('E2BIG', `${ranges.length} ranges to log`);
    this.#call(SET | VFIO_FEATURE.DMA_LOGGING_START, HEADER + size, (view, at) => {
      control.write(view, at, { pageSize, numRanges: ranges.length, reserved: 0 });
      for (const [index, range] of ranges.entries()) {
        const place = at + control.size + index * CODECS.featureLogRange.size;
        CODECS.featureLogRange.write(view, place, range);
      }
      return size;
    });
  }

  stopLogging(): void {
    this.#call(SET | VFIO_FEATURE.DMA_LOGGING_STOP, HEADER, () => 0);
  }

  /** Sets bits of `bitmap`, in as many calls as the bitmap's size asks for. */
  reportLogging(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    const step = this.#maxBitmap * 8 * pageSize;
    for (let done = 0; done < length; done += step) {
      const part = Math.min(step, length - done);
      const at = done / pageSize / 8;
      this.#reportPart(iova + done, part, pageSize, bitmap.subarray(at));
    }
  }

  #reportPart(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    const fixed = HEADER + CODECS.featureLogReport.size;
    const size = logBitmapSize(length, pageSize);
    this.#call(GET | VFIO_FEATURE.DMA_LOGGING_REPORT, fixed + size, (view, at) => {
      CODECS.featureLogReport.write(view, at, { iova, length, pageSize });
      return CODECS.featureLogReport.size;
    });
    const { rx } = this.#link.channel;
    const { at, length: replied } = this.#link.reply;
    if (replied !== fixed + size)
      throw new Fault('EPROTO', `${replied} bytes in reply to a report of ${size}`);
    const from = at + fixed;
    for (let index = 0; index < size && index < bitmap.length; index++)
      bitmap[index] = (bitmap[index] as number) | (rx[from + index] as number);
  }
}
