/**
 * Migration data of the conformance suite's device: 16 bytes of header (magic, version, length of
 * the body, SCRATCH) and a body that follows from the length.
 */
import { Fault } from '../../src/base/fault.ts';
import { dataView } from '../../src/base/int.ts';
import type { MigrationData } from '../../src/vfio/vfio-device.ts';

const HEADER = 16;
const MAGIC = 0x4553_4143;
const LENGTH_MAX = 64 * 2 ** 20;

function streamBytes(scratch: number, length: number): Uint8Array {
  const bytes = new Uint8Array(HEADER + length);
  const view = dataView(bytes);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, 1, true);
  view.setUint32(8, length, true);
  view.setUint32(12, scratch, true);
  for (let i = 0; i < length; i++) bytes[HEADER + i] = (i * 7 + (i >> 8)) & 0xff;
  return bytes;
}

abstract class CaseFile implements MigrationData {
  abstract readonly direction: 'read' | 'write';
  #ended = false;

  /** Ends the session: later calls answer ENODEV. */
  end(): void {
    this.#ended = true;
  }

  protected checkAlive(): void {
    if (this.#ended) throw new Fault('ENODEV', 'the session is over');
  }

  async read(_max: number): Promise<readonly Uint8Array[]> {
    throw new Fault('EINVAL', 'a file to write');
  }

  async write(_source: Uint8Array): Promise<void> {
    throw new Fault('EINVAL', 'a file to read');
  }

  window(): undefined {
    return undefined;
  }

  async commit(): Promise<void> {}

  close(): void {}
}

/** A stream being saved. In pre-copy only its header is there; {@link finish} brings the rest. */
export class CaseSave extends CaseFile {
  readonly direction = 'read';
  readonly #bytes: Uint8Array;
  #available = HEADER;
  #at = 0;
  #final = false;

  constructor(scratch: number, length: number) {
    super();
    this.#bytes = streamBytes(scratch, length);
  }

  /** Bytes of a stream whose body has `length` bytes. */
  static size(length: number): number {
    return HEADER + length;
  }

  /** Bytes that pre-copy still has. */
  get initialLeft(): number {
    return this.#available - this.#at;
  }

  /** The device stopped: the whole stream can be read. */
  finish(): void {
    this.#available = this.#bytes.length;
    this.#final = true;
  }

  override async read(max: number): Promise<readonly Uint8Array[]> {
    this.checkAlive();
    const end = Math.min(this.#at + max, this.#available);
    if (end === this.#at && !this.#final && max > 0)
      throw new Fault('ENOMSG', 'nothing more for now');
    const first = Math.min(end, this.#at + 5000);
    const parts = [this.#bytes.subarray(this.#at, first), this.#bytes.subarray(first, end)];
    this.#at = end;
    return parts.filter((part) => part.length > 0);
  }
}

/** A stream being loaded. */
export class CaseLoad extends CaseFile {
  readonly direction = 'write';
  readonly #judge: () => void;
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  constructor(judge: () => void) {
    super();
    this.#judge = judge;
  }

  override async write(source: Uint8Array): Promise<void> {
    this.checkAlive();
    this.#judge();
    this.#length += source.length;
    if (this.#length > LENGTH_MAX) throw new Fault('ENOSPC', 'more than any stream has');
    this.#parts.push(source.slice());
  }

  /** SCRATCH of a whole and sound stream, else undefined. */
  result(): number | undefined {
    const bytes = Buffer.concat(this.#parts);
    if (bytes.length < HEADER) return undefined;
    const view = dataView(bytes);
    const scratch = view.getUint32(12, true);
    const length = view.getUint32(8, true);
    if (length !== bytes.length - HEADER || length > LENGTH_MAX) return undefined;
    return Buffer.compare(streamBytes(scratch, length), bytes) === 0 ? scratch : undefined;
  }
}
