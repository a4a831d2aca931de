/** REGION_READ and REGION_WRITE of one connection. */
import { Fault } from '../base/fault.ts';
import type { Channel } from './channel.ts';
import { LAYOUTS } from './layouts.ts';
import { HEADER_SIZE, VFIO_USER } from './protocol.ts';
import type { RegionTable } from './region-io.ts';

const ACCESS_SIZE = LAYOUTS.regionAccess.size;
const COUNT_AT = LAYOUTS.regionAccess.fields.count[0];
const DATA_AT = HEADER_SIZE + ACCESS_SIZE;

/** The hot path: nothing is allocated for an access that fits the small buffers. */
export class RegionAccess {
  readonly #server: { readonly regions: RegionTable };
  readonly #channel: Channel;
  readonly #large: (count: number) => Uint8Array;
  /** Data of the last read that did not fit into the channel's buffer. */
  tail: readonly Uint8Array[] | undefined;

  /**
   * @param server whose regions may become another device's
   * @param large room for the data of a read that does not fit, at most `count` bytes
   */
  constructor(
    server: { readonly regions: RegionTable },
    channel: Channel,
    large: (count: number) => Uint8Array,
  ) {
    this.#server = server;
    this.#channel = channel;
    this.#large = large;
  }

  /**
   * Serves the access whose payload of `length` bytes is at `at` of `bytes`.
   *
   * @returns bytes of the reply's payload in the channel's buffer; the rest is {@link tail}
   * @throws {Fault} EINVAL, and what the device says
   */
  serve(
    command: number,
    bytes: Uint8Array,
    view: DataView,
    at: number,
    length: number,
  ): number | Promise<number> {
    const { tx } = this.#channel;
    this.tail = undefined;
    if (command === VFIO_USER.REGION_WRITE) {
      const pending = this.#server.regions.write(bytes, view, at, length);
      if (pending === undefined) return this.#echo(view, at, 0);
      return pending.then(() => this.#echo(view, at, 0));
    }
    if (length !== ACCESS_SIZE) throw new Fault('EINVAL', `a payload of ${length} bytes`);
    const wanted = view.getUint32(at + COUNT_AT, true);
    if (wanted <= tx.length - DATA_AT)
      return this.#echo(view, at, this.#server.regions.read(view, at, tx, DATA_AT));
    const data = this.#large(wanted);
    this.#server.regions.read(view, at, data, 0);
    this.tail = [data];
    return this.#echo(view, at, 0);
  }

  /** The reply begins as the request does. */
  #echo(view: DataView, at: number, count: number): number {
    const { txView } = this.#channel;
    for (let word = 0; word < ACCESS_SIZE; word += 4)
      txView.setUint32(HEADER_SIZE + word, view.getUint32(at + word, true), true);
    return ACCESS_SIZE + count;
  }
}
