/** `verify`: would a VF take this file? */
import { StreamFault } from '../base/fault.ts';
import { type DeviceClaim, mergeClaims } from '../migration/stream-device.ts';
import type { StreamFile } from '../migration/stream-file.ts';
import { StreamVerifier, type VerifyReport } from '../migration/stream-verify.ts';
import {
  formatOf,
  type OfflineOptions,
  readStream,
  type StreamFormat,
  withStreamFile,
} from './offline.ts';

/** A file that would be taken. */
export interface VerifyAccepted extends VerifyReport {
  readonly ok: true;
  readonly format: StreamFormat;
}

/** A file that would be refused, and where. */
export interface VerifyRefused {
  readonly ok: false;
  readonly format: StreamFormat;
  /** Name of the errno, such as `EINVAL`. */
  readonly errno: string;
  /** Byte offset in the stream of the offending packet's header. */
  readonly offset: number;
  /** Where that is in the file. */
  readonly fileOffset: number;
  /** 0-based index of that packet. */
  readonly packet: number;
  readonly reason: string;
}

/**
 * Checks a stream or a checkpoint, whose header stands in for what `claim` leaves open.
 * @throws {Fault} when the file cannot be read, ECANCELED when called off
 */
export function verifyFile(
  path: string,
  claim: DeviceClaim,
  options: OfflineOptions = {},
): Promise<VerifyAccepted | VerifyRefused> {
  return withStreamFile(path, async (file) => {
    const format = formatOf(file);
    try {
      return { ok: true, format, ...(await verifyOpenFile(file, claim, options)) };
    } catch (error) {
      if (!(error instanceof StreamFault)) throw error;
      const { code: errno, offset, packet, message: reason } = error;
      return { ok: false, format, errno, offset, fileOffset: file.start + offset, packet, reason };
    }
  });
}

async function verifyOpenFile(
  file: StreamFile,
  claim: DeviceClaim,
  options: OfflineOptions,
): Promise<VerifyReport> {
  const profile = file.checkpoint?.header?.profile;
  const damage = file.checkpoint?.damage;
  if (damage?.part === 'header')
    throw new StreamFault(damage.fault.code, damage.fault.message, { offset: 0, packet: 0 });
  const verifier = new StreamVerifier(mergeClaims(claim, profile), {
    origin: claim.deviceId === undefined ? 'checkpoint' : 'caller',
    // Without its index nobody knows where the stream of a checkpoint ends, but the trailer does.
    stopAtTrailer: damage !== undefined,
  });
  const take = (bytes: Uint8Array) => {
    verifier.push(bytes);
    return verifier.stopped;
  };
  await readStream(file, take, options);
  const report = verifier.finish();
  if (damage !== undefined)
    throw new StreamFault(damage.fault.code, damage.fault.message, {
      offset: verifier.length,
      packet: verifier.packets,
    });
  return report;
}
