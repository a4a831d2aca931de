/**
 * DEVICE_SET_IRQS.
 *
 * Source: QEMU docs/interop/vfio-user.rst; drivers/vfio/vfio_main.c:
 * vfio_set_irqs_validate_and_prepare (order of the checks).
 */
import { Fault } from '../base/fault.ts';
import {
  VFIO_IRQ_SET,
  VFIO_IRQ_SET_ACTION_TYPE_MASK,
  VFIO_IRQ_SET_DATA_TYPE_MASK,
} from '../vfio/uapi.ts';
import type { IrqSet, VfioDevice } from '../vfio/vfio-device.ts';
import { CODECS } from './codecs.ts';
import { demand, type Request } from './request.ts';

const { DATA_NONE, DATA_BOOL, DATA_EVENTFD } = VFIO_IRQ_SET;

function isOneBit(bits: number): boolean {
  return bits !== 0 && (bits & (bits - 1)) === 0;
}

/**
 * Decodes the command; the descriptors are still the request's.
 *
 * @throws {Fault} EINVAL for anything that no device could mean
 */
function decodeIrqSet(request: Request, device: VfioDevice): Omit<IrqSet, 'fds'> {
  const { argsz, flags, index, start, count } = request.decode('irqSet');
  const fixed = CODECS.irqSet.size;
  const known = VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK;
  demand(argsz >= fixed, `argsz ${argsz} is too small`);
  demand(index < device.info.numIrqs, `there is no interrupt ${index}`);
  demand((flags & ~known) === 0, 'the flags have unknown bits');
  demand(isOneBit(flags & VFIO_IRQ_SET_ACTION_TYPE_MASK), 'not exactly one action');
  demand(isOneBit(flags & VFIO_IRQ_SET_DATA_TYPE_MASK), 'not exactly one data type');
  const vectors = device.irqInfo(index).count;
  const disablesAll = (flags & DATA_NONE) !== 0 && start === 0 && count === 0;
  if (!disablesAll) {
    demand(count > 0, 'no vectors');
    demand(start + count <= vectors, `vectors ${start}+${count} of ${vectors}`);
  }
  const data = request.length - fixed;
  const isBool = (flags & DATA_BOOL) !== 0;
  demand(data === (isBool ? count : 0), `${data} bytes of data for ${count} vectors`);
  const fds = request.fds.length;
  if ((flags & DATA_EVENTFD) !== 0)
    demand(fds === 0 || fds === count, `${fds} descriptors for ${count} vectors`);
  else demand(fds === 0, 'descriptors without DATA_EVENTFD');
  if (!isBool) return { flags, index, start, count };
  const bools = request.bytes.slice(request.at + fixed, request.at + fixed + count);
  return { flags, index, start, count, bools };
}

/** DEVICE_SET_IRQS. @throws {Fault} EINVAL, and what the device says */
export function setIrqs(request: Request, device: VfioDevice): number {
  const set = decodeIrqSet(request, device);
  if ((set.flags & DATA_EVENTFD) === 0) device.setIrqs(set);
  else {
    const sent = request.takeFds();
    // No descriptor at all takes the vectors' eventfds away.
    const fds = sent.length > 0 ? sent : new Array<number>(set.count).fill(-1);
    device.setIrqs({ ...set, fds });
  }
  return 0;
}

/** Takes every interrupt of the device away from a client that has gone. */
export function disableIrqs(device: VfioDevice): void {
  const flags = DATA_NONE | VFIO_IRQ_SET.ACTION_TRIGGER;
  for (let index = 0; index < device.info.numIrqs; index++) {
    if (device.irqInfo(index).count === 0) continue;
    try {
      device.setIrqs({ flags, index, start: 0, count: 0 });
    } catch (error) {
      // EINVAL: this kind of interrupt was not in use, as vfio-pci says it.
      if (!(error instanceof Fault && error.code === 'EINVAL')) throw error;
    }
  }
}
