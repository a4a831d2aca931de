/**
 * MIG_GET_PRECOPY_INFO: the question that VFIO_MIG_GET_PRECOPY_INFO asks of a data file.
 *
 * Source: include/uapi/linux/vfio.h (struct vfio_precopy_info),
 * include/linux/vfio.h:vfio_check_precopy_ioctl.
 */
import { VFIO_PRECOPY_INFO } from '../vfio/uapi.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import { CODECS } from './codecs.ts';
import { demand, type Request } from './request.ts';

const INFO = CODECS.precopyInfo.size;
const STOP = CODECS.precopyStop.size;
/** {@link CODECS.precopyStop} of a device that does not know. */
const UNKNOWN_US = 2 ** 53 - 1;

/**
 * Answers with `vfio_precopy_info`; behind it, where `argsz` has room, with how long the device is
 * likely to take into STOP_COPY, and how old what it knows of changes is.
 *
 * @param data the data file of the client, asked for only to know that it has one
 * @returns bytes of the reply's payload
 * @throws {Fault} EINVAL for an argsz below 24 and outside of PRE_COPY and PRE_COPY_P2P, EBUSY when
 * the session is another connection's
 */
export async function precopyInfo(
  request: Request,
  device: VfioDevice,
  data: () => unknown,
): Promise<number> {
  const { argsz, flags } = request.decode('precopyInfo');
  demand(argsz >= INFO, `argsz ${argsz} is below ${INFO}`);
  data();
  const { initialBytes, dirtyBytes, reinit, stopMs, staleMs } = await device.precopyInfo();
  const length = argsz >= INFO + STOP ? INFO + STOP : INFO;
  // Without the opt-in the field is not written: some callers never set it, and some drivers echo it.
  const told = device.precopyInfoV2 === true ? (reinit ? VFIO_PRECOPY_INFO.REINIT : 0) : flags;
  const { reply, replyAt } = request;
  CODECS.precopyInfo.write(reply, replyAt, {
    argsz: length,
    flags: told,
    initialBytes,
    dirtyBytes,
  });
  if (length > INFO) {
    const us = (ms: number | undefined) => (ms === undefined ? UNKNOWN_US : Math.round(ms * 1000));
    CODECS.precopyStop.write(reply, replyAt + INFO, { stopUs: us(stopMs), staleUs: us(staleMs) });
  }
  return length;
}
