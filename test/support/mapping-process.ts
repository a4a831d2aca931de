/** Another process that has a memfd mapped and writes it, as a VMM's processors write a BAR. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const LOADER = new URL('./ts-loader.mjs', import.meta.url).href;
const CHILD = fileURLToPath(new URL('./mapping-child.ts', import.meta.url));

/** What the process can be told. */
export type MappingOrder =
  | { readonly op: 'map'; readonly size: number }
  | {
      readonly op: 'write';
      readonly at: number;
      readonly value: number;
      readonly length: number;
    }
  | { readonly op: 'unmap' }
  /** Maps it at another address. */
  | { readonly op: 'remap' }
  /** Takes all pages out of the page table; the mapping stays. */
  | { readonly op: 'forget' };

/** The process. */
export class MappingProcess {
  readonly #child: ChildProcess;

  /** @param fd the memfd, borrowed */
  constructor(fd: number) {
    this.#child = spawn(process.execPath, ['--import', LOADER, CHILD], {
      stdio: ['ignore', 'inherit', 'inherit', fd, 'ipc'],
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** @returns once it is done */
  async tell(order: MappingOrder): Promise<void> {
    const done = once(this.#child, 'message');
    this.#child.send(order);
    await done;
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.disconnect();
    await ended;
  }
}
