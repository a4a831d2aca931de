const BLOCK = 4096;
const ZEROS = Buffer.alloc(BLOCK);

/** How many of `bytes` are zero; blocks that are all zero cost a comparison of memory. */
export function countZeros(bytes: Uint8Array): number {
  let zeros = 0;
  for (let from = 0; from < bytes.length; from += BLOCK) {
    const end = Math.min(from + BLOCK, bytes.length);
    if (ZEROS.compare(bytes, from, end, 0, end - from) === 0) zeros += end - from;
    else for (let at = from; at < end; at++) if (bytes[at] === 0) zeros++;
  }
  return zeros;
}
