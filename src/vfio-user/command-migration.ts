/**
 * MIG_DATA_READ and MIG_DATA_WRITE. Data goes out from where the state lies and comes in to where
 * it will lie: nothing is copied here.
 *
 * Source: QEMU docs/interop/vfio-user.rst, VFIO_USER_MIG_DATA_READ, VFIO_USER_MIG_DATA_WRITE.
 */
import { Fault } from '../base/fault.ts';
import { addressOf } from '../sys/mapping.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import { BodyLost, type BodySource, receiveBody } from './body.ts';
import type { Channel } from './channel.ts';
import { CODECS } from './codecs.ts';
import { demand, type Request } from './request.ts';

const FIXED = CODECS.migData.size;

/**
 * MIG_DATA_READ.
 *
 * @param maxCount greatest size, bytes
 * @param data the data file; asked for only after the request was judged
 * @throws {Fault} EINVAL for a bad size or state, and what the device says
 */
export async function migDataRead(
  request: Request,
  maxCount: number,
  data: () => MigrationData,
): Promise<number> {
  const { argsz, size } = request.decode('migData');
  demand(request.length === FIXED, `a payload of ${request.length} bytes`);
  demand(size <= maxCount, `a size of ${size} is above ${maxCount}`);
  demand(argsz >= FIXED + size, `argsz ${argsz} has no room for ${size} bytes`);
  const source = data();
  const views = size === 0 ? [] : await source.read(size);
  let total = 0;
  for (const view of views) total += view.length;
  if (total > size) throw new Fault('EIO', `the device gave ${total} bytes for ${size}`);
  const at = request.replyAt;
  CODECS.migData.write(request.reply, at, { argsz: FIXED + total, size: total });
  request.replyTail = views;
  return FIXED;
}

/** Hands bytes that are in the buffer to the device. @returns how many */
async function passOn(channel: Channel, data: MigrationData, length: number): Promise<number> {
  const here = channel.rx.subarray(channel.head, channel.head + length);
  const window = data.window(length);
  if (window === undefined || window.length === 0) {
    await data.write(here);
    return length;
  }
  const count = Math.min(window.length, length);
  window.set(here.subarray(0, count));
  await data.commit(count);
  return count;
}

/** What of the body has not been taken from the stream yet, bytes. */
interface Rest {
  left: number;
}

/** Moves the next bytes of the body to the device. */
async function moveSome(source: BodySource, data: MigrationData, rest: Rest): Promise<void> {
  const { channel } = source;
  if (channel.available === 0) {
    const window = data.window(rest.left);
    const address = window === undefined ? undefined : addressOf(window);
    if (window !== undefined && window.length > 0 && address !== undefined) {
      const count = await receiveBody(source, Math.min(window.length, rest.left), address);
      rest.left -= count;
      await data.commit(count);
      return;
    }
    await receiveBody(source, rest.left, undefined);
  }
  const count = await passOn(channel, data, Math.min(channel.available, rest.left));
  channel.head += count;
  rest.left -= count;
}

/** Throws the next bytes of the body away. */
async function discardSome(source: BodySource, rest: Rest): Promise<void> {
  const { channel } = source;
  if (channel.available === 0) await receiveBody(source, rest.left, undefined);
  const count = Math.min(channel.available, rest.left);
  channel.head += count;
  rest.left -= count;
}

/**
 * MIG_DATA_WRITE, whose fixed part is at the head of the buffer; the head is behind the message
 * afterwards, whatever the verdict.
 *
 * @param length bytes of the payload
 * @throws {Fault} EINVAL for a bad size or state, what the device says; {@link BodyLost}
 */
export async function migDataWrite(
  source: BodySource,
  length: number,
  maxCount: number,
  data: () => MigrationData,
): Promise<void> {
  const { channel } = source;
  const { size } = CODECS.migData.read(channel.rxView, channel.head);
  channel.head += FIXED;
  const rest: Rest = { left: length - FIXED };
  let fault: unknown;
  let target: MigrationData | undefined;
  try {
    demand(size === rest.left, `${rest.left} bytes of data for a size of ${size}`);
    demand(size <= maxCount, `a size of ${size} is above ${maxCount}`);
    target = data();
  } catch (error) {
    fault = error;
  }
  while (rest.left > 0) {
    try {
      if (target === undefined) await discardSome(source, rest);
      else await moveSome(source, target, rest);
    } catch (error) {
      if (source.closed || error instanceof BodyLost) throw error;
      fault = error;
      target = undefined;
    }
  }
  if (fault !== undefined) throw fault;
}
