/** The KLVs of a descriptor, for people and for guessing the device. */
import { dataView } from '../base/int.ts';
import { DESCRIPTOR_KLV } from '../xe/migration-packet.ts';

/** One key, length, value of a descriptor. */
export interface DescriptorKlv {
  readonly key: number;
  /** The key's name, `UNKNOWN` for one that has none. */
  readonly name: string;
  /** The value's dwords that are there. */
  readonly value: readonly number[];
  /** True when the length says more dwords than there are. */
  readonly cut: boolean;
}

/** Dwords of a value that are kept. */
const VALUE_MAX = 16;

/** Takes a descriptor apart, as far as it goes. */
export function decodeDescriptor(payload: Uint8Array): DescriptorKlv[] {
  const view = dataView(payload);
  const klvs: DescriptorKlv[] = [];
  for (let at = 0; at + 4 <= payload.length; ) {
    const header = view.getUint32(at, true);
    const key = header >>> 16;
    const length = header & 0xffff;
    at += 4;
    const whole = Math.min(length, Math.floor((payload.length - at) / 4));
    const value = Array.from({ length: Math.min(whole, VALUE_MAX) }, (_, n) =>
      view.getUint32(at + 4 * n, true),
    );
    const name = Object.entries(DESCRIPTOR_KLV).find(([, known]) => known === key)?.[0];
    klvs.push({ key, name: name ?? 'UNKNOWN', value, cut: whole < length });
    at += 4 * length;
  }
  return klvs;
}

/** The device and the revision that a descriptor names first. */
export function descriptorDevice(payload: Uint8Array): {
  readonly deviceId: number | undefined;
  readonly revisionId: number | undefined;
} {
  const klvs = decodeDescriptor(payload);
  const first = (key: number) => klvs.find((klv) => klv.key === key)?.value[0];
  return { deviceId: first(DESCRIPTOR_KLV.DEVID), revisionId: first(DESCRIPTOR_KLV.REVID) };
}
