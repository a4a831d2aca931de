/**
 * A second opinion on streams, for fuzzing: written from the format's description, sharing nothing with
 * src/, and only able to say yes or no.
 */

/** The VF that the oracle judges for: two GTs on tile 0, the second one a media GT. */
export interface OracleVf {
  readonly deviceId: number;
  readonly revisionId: number;
  readonly ggttSize: number;
  readonly vramSize: number;
  readonly gucStateSizes: readonly number[];
}

/** True when a VF would take every packet of `stream`, from the first byte to the last. */
export function isAcceptable(stream: Buffer, vf: OracleVf): boolean {
  let rest = stream;
  while (rest.length >= 24) {
    const [version, type, tile, gt] = [rest[0], rest[1], rest[2], rest[3]];
    const offset = rest.readBigUInt64LE(8);
    const size = rest.readBigUInt64LE(16);
    const whole = size <= BigInt(rest.length - 24);
    if (version !== 1 || type === 0 || tile !== 0 || gt === undefined || gt > 1 || !whole)
      return false;
    const payload = rest.subarray(24, 24 + Number(size));
    rest = rest.subarray(24 + Number(size));
    const main = gt === 0;
    switch (type) {
      case 1:
        if (!main || !isDescriptor(payload, vf)) return false;
        break;
      case 2:
        return main && offset === 0n && payload.length === 0 && rest.length === 0;
      case 3:
        if (!main || payload.length !== vf.ggttSize / 512) return false;
        break;
      case 4:
        if (payload.length !== 16) return false;
        break;
      case 5:
        if (payload.length !== vf.gucStateSizes[gt]) return false;
        break;
      case 6:
        if (!main || payload.length === 0 || offset + size > BigInt(vf.vramSize)) return false;
        break;
    }
  }
  return false;
}

function isDescriptor(payload: Buffer, vf: OracleVf): boolean {
  if (payload.length % 4 !== 0) return false;
  const klvs: [key: number, value: Buffer][] = [];
  for (let rest = payload; rest.length > 0; ) {
    const end = 4 + 4 * rest.readUInt16LE(0);
    if (end > rest.length) return false;
    klvs.push([rest.readUInt16LE(2), rest.subarray(4, end)]);
    rest = rest.subarray(end);
  }
  return klvs.every(([key, value]) => {
    const wanted = key === 0xf001 ? vf.deviceId : key === 0xf002 ? vf.revisionId : undefined;
    return wanted === undefined || (value.length >= 4 && value.readUInt32LE(0) === wanted);
  });
}
