/** The state that a stream would leave in a VF, as a map of where its bytes lie in the file. */
import { Fault, StreamFault } from '../base/fault.ts';
import { PACKET_HEADER_SIZE, PACKET_TYPE, packetTypeName } from '../xe/migration-packet.ts';
import { StreamRules } from '../xe/migration-stream.ts';
import { platformOfDevice } from '../xe/platforms.ts';
import { decodeDescriptor, descriptorDevice } from './descriptor.ts';
import { ExtentMap } from './extents.ts';
import { walkPackets } from './packet-walk.ts';
import type { StreamFile } from './stream-file.ts';
import { StreamTally } from './stream-tally.ts';

/** The bytes of one kind of state of one GT. */
export interface StateResource {
  readonly type: number;
  /** The type's name. */
  readonly resource: string;
  readonly gt: number;
  readonly map: ExtentMap;
}

/** The state in one file. */
export interface StreamState {
  readonly file: StreamFile;
  /** By {@link resourceKey}. */
  readonly resources: ReadonlyMap<number, StateResource>;
  /** Fields of the descriptors, the last one of a name, as people write them. */
  readonly fields: ReadonlyMap<string, string>;
  /** True when the VF ran while its VRAM was saved: what of it is not there is zero. */
  readonly precopied: boolean;
  /** Ids of the GTs that are media GTs; undefined when the device is not known. */
  readonly mediaGts: ReadonlySet<number> | undefined;
}

/** Packets that are looked at; a stream of 1 MiB chunks of 64 GiB has 65,000. */
const PACKETS_MAX = 2 ** 18;

/** A number that stands for a type of a GT; in the order of GTs. */
function resourceKey(type: number, gt: number): number {
  return (gt << 8) | type;
}

/**
 * Maps the state of a stream; memory grows with the number of packets, not with their size.
 *
 * @throws {StreamFault} when the stream is broken, naming the file
 * @throws {Fault} E2BIG for more than 262,144 packets, EUCLEAN or EBADMSG for a damaged checkpoint
 */
export async function mapState(file: StreamFile): Promise<StreamState> {
  const { damage } = file.checkpoint ?? {};
  if (damage !== undefined)
    throw new Fault(damage.fault.code, `${file.path}: ${damage.fault.message}`);
  const resources = new Map<number, StateResource>();
  const fields = new Map<string, string>();
  let deviceId: number | undefined;
  const tally = new StreamTally();
  const rules = new StreamRules({});
  try {
    for await (const { header, packet, offset } of walkPackets(file, rules)) {
      if (packet >= PACKETS_MAX)
        throw new Fault('E2BIG', `${file.path} has more than ${PACKETS_MAX} packets`);
      const position = offset + PACKET_HEADER_SIZE;
      tally.add(header);
      if (header.type === PACKET_TYPE.DESCRIPTOR) {
        const payload = new Uint8Array(header.size);
        // A payload that is cut is found by the next step of the walk.
        await file.readAt(payload, position);
        for (const { name, key, value } of decodeDescriptor(payload))
          fields.set(name === 'UNKNOWN' ? hex(key) : name, value.map(hex).join(' '));
        deviceId = descriptorDevice(payload).deviceId ?? deviceId;
      } else if (header.type !== PACKET_TYPE.TRAILER)
        put(resources, header.type, header.gt, header.offset, header.size, position);
    }
  } catch (error) {
    if (!(error instanceof StreamFault)) throw error;
    throw new StreamFault(error.code, `${file.path}: ${error.message}`, error, {
      hint: `xe-vfio inspect ${file.path}`,
    });
  }
  const gts = deviceId === undefined ? undefined : platformOfDevice(deviceId)?.gts;
  const media = gts?.filter(({ type }) => type === 'media').map(({ id }) => id);
  return {
    file,
    resources,
    fields,
    precopied: tally.precopied,
    mediaGts: media === undefined ? undefined : new Set(media),
  };
}

function put(
  resources: Map<number, StateResource>,
  type: number,
  gt: number,
  offset: number,
  size: number,
  position: number,
): void {
  const key = resourceKey(type, gt);
  const old = resources.get(key);
  // VRAM comes in chunks, unknown types one after another; of the others the last one counts.
  const adds = type >= PACKET_TYPE.VRAM;
  const resource =
    old !== undefined && adds
      ? old
      : { type, resource: packetTypeName(type), gt, map: new ExtentMap() };
  const start = type === PACKET_TYPE.VRAM ? offset : type > PACKET_TYPE.VRAM ? resource.map.end : 0;
  resource.map.put(start, size, position);
  resources.set(key, resource);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
