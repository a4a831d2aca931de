/** What came in a stream, resource by resource, and what of the VF's state did not. */
import { PACKET_TYPE, type PacketHeader, packetTypeName } from '../xe/migration-packet.ts';
import type { StreamTarget } from '../xe/migration-stream.ts';
import { RangeSet } from './range-set.ts';

/** The packets of one type for one GT. */
export interface ResourceTotal {
  /** The packets' type, such as `VRAM`. */
  readonly resource: string;
  readonly tile: number;
  readonly gt: number;
  readonly packets: number;
  /** Bytes of payload. */
  readonly bytes: number;
}

/** Something that Linux accepts though state is lost by it. */
export interface StreamWarning {
  readonly kind: 'missing' | 'hole' | 'twice' | 'skipped' | 'rounded' | 'no-descriptor';
  /** One sentence. */
  readonly text: string;
}

/** Resources that a stream has for every GT of a kind. Source: xe_gt_sriov_pf_migration_save_init. */
const PER_GT = [
  { type: PACKET_TYPE.GUC, media: true },
  { type: PACKET_TYPE.GGTT, media: false },
  { type: PACKET_TYPE.MMIO, media: true },
] as const;
/** Kinds of packets told apart; only a hostile stream has more. */
const TOTALS_MAX = 4096;
/** Warnings kept of each kind; the last one of a kind then says that there are more. */
const WARNINGS_MAX = 16;

interface Total {
  resource: string;
  tile: number;
  gt: number;
  packets: number;
  bytes: number;
}

/** Counts the packets of one stream as they come. */
export class StreamTally {
  readonly #totals = new Map<number, Total>();
  readonly #warnings: StreamWarning[] = [];
  readonly #vram = new RangeSet();
  #precopied = false;

  /** Takes a header that the rules accepted. */
  add(header: PacketHeader): void {
    const { type, tile, gt, size, offset } = header;
    // Ids are bytes, so this key is theirs alone.
    const key = (type << 16) | (tile << 8) | gt;
    let total = this.#totals.get(key);
    if (total === undefined) {
      if (this.#totals.size >= TOTALS_MAX) return;
      total = { resource: packetTypeName(type), tile, gt, packets: 0, bytes: 0 };
      this.#totals.set(key, total);
    }
    total.packets++;
    total.bytes += size;
    if (type > PACKET_TYPE.VRAM)
      this.#warn('skipped', `a packet of unknown type ${type} is skipped, with ${size} bytes`);
    if (type === PACKET_TYPE.VRAM && !this.#has(PACKET_TYPE.GUC, gt)) this.#precopied = true;
    const twice = type === PACKET_TYPE.VRAM && this.#vram.add(offset, offset + size);
    if (twice && !this.#precopied)
      this.#warn('twice', `VRAM at 0x${offset.toString(16)} comes twice; the later bytes stay`);
    if (type === PACKET_TYPE.GUC && size % 4 !== 0)
      this.#warn('rounded', `the last ${size % 4} bytes of GT ${gt}'s GuC state are dropped`);
    if (PER_GT.some((resource) => resource.type === type) && total.packets > 1)
      this.#warn('twice', `${total.resource} of GT ${gt} comes twice; the later one stays`);
  }

  /**
   * True when VRAM began to come before the state of its GT, as it does of a VF that is saved while it
   * runs, and only then: what of VRAM does not come is zero, and what comes twice has changed.
   *
   * Source: xe_gt_sriov_pf_control.c:pf_handle_vf_save (GUC, GGTT, MMIO, VRAM); docs/precopy.md.
   */
  get precopied(): boolean {
    return this.#precopied;
  }

  /** The totals, in the order that the resources first came. */
  totals(): ResourceTotal[] {
    return [...this.#totals.values()].map((total) => ({ ...total }));
  }

  /** Everything that is lost on `target`, as far as it is known. */
  warnings(target: StreamTarget): StreamWarning[] {
    const warnings = [...this.#warnings];
    if (!this.#has(PACKET_TYPE.DESCRIPTOR, 0))
      warnings.push({
        kind: 'no-descriptor',
        text: 'without a descriptor nothing keeps the stream from a device that it is not of',
      });
    for (const { id, type: gtType } of target.gts ?? [])
      for (const { type, media } of PER_GT)
        if ((media || gtType === 'main') && !this.#has(type, id))
          warnings.push({
            kind: 'missing',
            text: `no ${packetTypeName(type)} packet for GT ${id}: that state is lost`,
          });
    return warnings.concat(this.#holes(target));
  }

  /** True when it can be told which VRAM did not come. */
  get vramExact(): boolean {
    return this.#vram.exact;
  }

  #holes({ vramSize, gts }: StreamTarget): StreamWarning[] {
    if (!this.#vram.exact || this.#precopied) return [];
    // Of a discrete part the size may not be known, but it has VRAM.
    if (vramSize === undefined && gts !== undefined && this.#vram.end === 0)
      return [{ kind: 'missing', text: 'no VRAM packet: all of the VRAM is lost' }];
    const gaps = this.#vram.gaps(vramSize ?? this.#vram.end);
    const lost = gaps.reduce((bytes, { start, end }) => bytes + end - start, 0);
    const first = gaps[0];
    if (first === undefined) return [];
    const all = lost === vramSize;
    const where = `first 0x${first.start.toString(16)}-0x${(first.end - 1).toString(16)}`;
    const text = all
      ? `no VRAM packet: all ${lost} bytes of VRAM are lost`
      : `${lost} bytes of VRAM in ${gaps.length === 1 ? 'one range' : `${gaps.length} ranges`} did not come (${where})`;
    return [{ kind: all ? 'missing' : 'hole', text }];
  }

  #has(type: number, gt: number): boolean {
    for (const total of this.#totals.values())
      if (total.resource === packetTypeName(type) && total.gt === gt) return true;
    return false;
  }

  #warn(kind: StreamWarning['kind'], text: string): void {
    const same = this.#warnings.filter((warning) => warning.kind === kind).length;
    if (same < WARNINGS_MAX) this.#warnings.push({ kind, text });
    else if (same === WARNINGS_MAX)
      this.#warnings.push({ kind, text: 'and more of this kind that are not listed' });
  }
}
