/** Re-homing as a server does it: finds the target, opens it, moves, and remembers where the VF is. */
import { Fault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import { decodePacketHeader, PACKET_HEADER_SIZE, PACKET_TYPE } from '../xe/migration-packet.ts';
import { GGTT_PTE_SIZE } from '../xe/pte.ts';
import type { XeVfioPci } from '../xe-vfio-pci/xe-vfio-pci.ts';
import { EmulatedHost } from './emulated-host.ts';
import { checkRehome, type HeldServer, type RehomeOptions, rehome } from './rehome.ts';
import type { RehomeAnswer, RehomeRequest, VfHome } from './serve-messages.ts';
import type { VfHost } from './vf-host.ts';

/** Name of the emulated PF of a server that was given no names. */
export const DEFAULT_PF_NAME = 'pf0';

/** Where a served VF is. */
export interface VfPlace {
  readonly pf: string;
  readonly host: VfHost;
  readonly vfid: number;
  readonly device: XeVfioPci;
}

/** A VF that is served; its home changes. */
export interface MovableVf {
  readonly server: HeldServer;
  home: VfPlace;
}

/** The PF that a VF moves to. */
export interface TargetPf {
  readonly pf: string;
  readonly host: VfHost;
  /** Its VFs that are served. */
  readonly taken: readonly number[];
}

/**
 * Moves a served VF.
 *
 * @throws {Fault} EOPNOTSUPP for a real VF; EBUSY when the target is used; ENODEV when there is none;
 * what `checkRehome` and `rehome` throw: the VF is served as before then
 */
export async function rehomeServed(
  vf: MovableVf,
  target: TargetPf,
  request: RehomeRequest,
): Promise<RehomeAnswer> {
  const { host: from } = vf.home;
  const { pf, host } = target;
  if (!(from instanceof EmulatedHost) || !(host instanceof EmulatedHost))
    throw new Fault('EOPNOTSUPP', 'the VF of a real GPU cannot be re-homed');
  const { transparent = false } = request;
  const vfid = request.vfid ?? freeVf(vf.home, target, host.vfs);
  if (vfid > host.vfs)
    throw new Fault('ENODEV', `${pf} has no VF ${vfid}, only 1 to ${host.vfs}`, {
      hint: `serve --vfs ${vfid}`,
    });
  if (target.taken.includes(vfid)) throw new Fault('EBUSY', `VF ${vfid} of ${pf} is served itself`);
  const source = { host: from, vfid: vf.home.vfid, device: vf.home.device };
  checkRehome(source, { host, vfid }, transparent);
  const before = homeOf(vf.home.pf, from, vf.home.vfid);
  const device = await host.open(vfid);
  const tamper = tampering(request);
  const times = await rehome(source, { host, vfid, device }, vf.server, {
    transparent,
    tamper,
    moved: () => {
      vf.home = { pf, host, vfid, device };
    },
  });
  return { ...times, from: before, to: homeOf(pf, host, vfid), transparent };
}

/** A VF and what its guest knows of its place. */
export function homeOf(pf: string, host: EmulatedHost, vfid: number): VfHome {
  return { pf, vfid, ggttStart: host.gpu.ggttStart(vfid) };
}

/** The same number on another PF, the next free one on the same. */
function freeVf(home: VfPlace, { pf, taken }: TargetPf, vfs: number): number {
  if (pf !== home.pf) return home.vfid;
  for (let step = 1; step < vfs; step++) {
    const vfid = ((home.vfid - 1 + step) % vfs) + 1;
    if (!taken.includes(vfid)) return vfid;
  }
  throw new Fault('ENODEV', `${pf} has no VF that is free`, {
    hint: 'serve with more --vfs, or give --to-pf',
  });
}

/** What becomes of a part of a packet on its way; undefined keeps it back. */
type Change = (type: number, part: Uint8Array, isHeader: boolean) => Uint8Array | undefined;

/** What a negative control does to the stream. */
function tampering({ withhold, wrongGgtt }: RehomeRequest): RehomeOptions['tamper'] {
  if (wrongGgtt === true)
    return changing((type, part, isHeader) =>
      type === PACKET_TYPE.GGTT && !isHeader ? shifted(part) : part,
    );
  if (withhold === undefined) return undefined;
  /** Headers of the type that have come; the first packet is kept back. */
  let seen = 0;
  return changing((type, part, isHeader) => {
    if (type !== withhold) return part;
    if (isHeader) seen++;
    return seen === 1 ? undefined : part;
  });
}

/** Every PTE in the place of the one before it, in memory of its own. */
function shifted(ptes: Uint8Array): Uint8Array {
  const result = new Uint8Array(ptes.length);
  result.set(ptes.subarray(GGTT_PTE_SIZE));
  result.set(ptes.subarray(0, GGTT_PTE_SIZE), ptes.length - GGTT_PTE_SIZE);
  return result;
}

/** Gives each packet's header, and its body in the pieces in which it comes, to `change`. */
function changing(change: Change): (part: Uint8Array) => Uint8Array {
  let type = 0;
  /** Bytes of the packet's body that are still to come. */
  let rest = 0;
  return (part) => {
    const sent: Uint8Array[] = [];
    for (let at = 0; at < part.length; ) {
      const isHeader = rest === 0;
      let length = PACKET_HEADER_SIZE;
      if (isHeader) {
        const header = decodePacketHeader(dataView(part), at);
        type = header.type;
        rest = header.size;
      } else {
        length = Math.min(rest, part.length - at);
        rest -= length;
      }
      const changed = change(type, part.subarray(at, at + length), isHeader);
      if (changed !== undefined) sent.push(changed);
      at += length;
    }
    return Buffer.concat(sent);
  };
}
