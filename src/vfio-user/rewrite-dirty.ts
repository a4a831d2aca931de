/**
 * Tells a VMM which guest memory its device wrote, in the one way that every VMM understands: by
 * having it write the same bytes once more.
 *
 * A VMM that gave a server its memory does not see what the device writes there. One that sends its
 * guest's memory elsewhere has to know, and the protocol has no message for that which VMMs use.
 * Source: docs/whole-vm.md.
 */
import type { DmaMapping, VfioDevice } from '../vfio/vfio-device.ts';
import type { DmaTable } from './dma-table.ts';

const PAGE_SIZE = 4096;
/** Pages in one message; more in a row are sent in several. */
const MOST_PAGES = 256;
/** Bytes of memory that one bitmap stands for. */
const SPAN = 2 ** 30;

/** What was written once more. */
export interface Rewritten {
  readonly pages: number;
  readonly messages: number;
}

/**
 * Writes every page in `device`'s log once more through the client whose memory is in `dma`.
 *
 * @throws {Fault} EINVAL when nothing is logged; EIO, ETIMEDOUT when the client does not do it
 */
export function rewriteDirty(device: VfioDevice, dma: DmaTable): Rewritten {
  let pages = 0;
  let messages = 0;
  for (const mapping of dma.writable()) {
    for (let from = 0; from < mapping.size; from += SPAN) {
      const length = Math.min(SPAN, mapping.size - from);
      const bitmap = new Uint8Array(Math.ceil(length / PAGE_SIZE / 64) * 8);
      device.dmaLoggingReport(mapping.iova + from, length, PAGE_SIZE, bitmap);
      for (const [first, count] of runsOf(bitmap)) {
        rewrite(dma, mapping, from + first * PAGE_SIZE, count * PAGE_SIZE);
        pages += count;
        messages++;
      }
    }
  }
  return { pages, messages };
}

function rewrite(dma: DmaTable, mapping: DmaMapping, offset: number, length: number): void {
  dma.rewrite(mapping, offset, Math.min(length, mapping.size - offset));
}

/** Pages in a row whose bits are set: number of the first, and how many. */
function* runsOf(bitmap: Uint8Array): Generator<[first: number, count: number]> {
  let first = 0;
  let count = 0;
  for (let byte = 0; byte < bitmap.length; byte++) {
    const bits = bitmap[byte] as number;
    if (bits === 0 && count === 0) continue;
    for (let bit = 0; bit < 8; bit++) {
      const isSet = (bits & (1 << bit)) !== 0;
      if (isSet && count === 0) first = byte * 8 + bit;
      if (isSet) count++;
      if (count === MOST_PAGES || (!isSet && count > 0)) {
        yield [first, count];
        count = 0;
      }
    }
  }
  if (count > 0) yield [first, count];
}
