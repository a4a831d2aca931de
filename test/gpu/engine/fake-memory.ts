/** Memory of an address space for tests: sparse pages in a map, with pages that fault. */
import { dataView } from '../../../src/base/int.ts';
import type {
  GpuAccess,
  GpuMemory,
  GpuMemoryFault,
  MemoryRun,
} from '../../../src/gpu/engine/contracts.ts';

const PAGE = 4096;

/** A space whose pages are there when they were added. */
export class FakeMemory implements GpuMemory {
  readonly pages = new Map<number, Uint8Array>();
  readonly readOnly = new Set<number>();
  /** Runs are copies, as of memory that messages reach. */
  indirect = false;
  invalidations = 0;
  fault: GpuMemoryFault = { address: 0, access: 'read', level: 0, type: 'not-present' };

  /** Adds pages that cover `[address, address + length)`. */
  map(address: number, length: number): this {
    for (let at = address - (address % PAGE); at < address + length; at += PAGE)
      if (!this.pages.has(at)) this.pages.set(at, new Uint8Array(PAGE));
    return this;
  }

  read(address: number, target: Uint8Array): boolean {
    for (let done = 0; done < target.length; ) {
      const page = this.#page(address + done, 'read');
      if (page === undefined) return false;
      const from = (address + done) % PAGE;
      const count = Math.min(PAGE - from, target.length - done);
      target.set(page.subarray(from, from + count), done);
      done += count;
    }
    return true;
  }

  write(address: number, source: Uint8Array): boolean {
    for (let done = 0; done < source.length; ) {
      const page = this.#page(address + done, 'write');
      if (page === undefined) return false;
      const from = (address + done) % PAGE;
      const count = Math.min(PAGE - from, source.length - done);
      page.set(source.subarray(done, done + count), from);
      done += count;
    }
    return true;
  }

  readU32(address: number): number | undefined {
    const bytes = new Uint8Array(4);
    return this.read(address, bytes) ? dataView(bytes).getUint32(0, true) : undefined;
  }

  writeU32(address: number, value: number): boolean {
    const bytes = new Uint8Array(4);
    dataView(bytes).setUint32(0, value, true);
    return this.write(address, bytes);
  }

  writeU8(address: number, value: number): boolean {
    return this.write(address, Uint8Array.of(value));
  }

  run(address: number, length: number, access: GpuAccess): MemoryRun | undefined {
    const page = this.#page(address, access);
    if (page === undefined) return undefined;
    const from = address % PAGE;
    const bytes = page.subarray(from, Math.min(from + length, PAGE));
    return {
      bytes: this.indirect ? bytes.slice() : bytes,
      direct: !this.indirect,
      where: 'system',
      physical: address,
      compressed: false,
    };
  }

  invalidate(): void {
    this.invalidations++;
  }

  /** Writes dwords; the pages have to be there. */
  put(address: number, dwords: readonly number[]): void {
    for (const [index, dword] of dwords.entries()) this.writeU32(address + index * 4, dword >>> 0);
  }

  /** Reads dwords that are there. */
  get(address: number, count = 1): number[] {
    return Array.from({ length: count }, (_, index) => this.readU32(address + index * 4) as number);
  }

  /** Everything, for comparing: address and content of each page. */
  snapshot(): Map<number, string> {
    return new Map(
      [...this.pages].map(([at, page]) => [at, Buffer.from(page).toString('base64')] as const),
    );
  }

  #page(address: number, access: GpuAccess): Uint8Array | undefined {
    const at = address - (address % PAGE);
    const page = this.pages.get(at);
    if (page !== undefined && (access === 'read' || !this.readOnly.has(at))) return page;
    const type = page === undefined ? 'not-present' : 'write-access-violation';
    this.fault = { address, access, level: 0, type };
    return undefined;
  }
}
