/** The small requests of a tool to the server of a VF: `{ ask: op }` of `control-client.ts`. */
import type { CounterSnapshot } from '../gpu/counters.ts';
import type { Fields } from '../migration/fault-json.ts';
import type { RelayVersion } from '../pf/pf-service.ts';
import { askServer, type ReadyRequest, readyRequest } from './control-client.ts';

/** What a tool can ask for. */
export type ToolOperation =
  /** What of the VF no other message tells. */
  | 'vf'
  /** What the VF was made to do. */
  | 'counters'
  /** Tell the VMM which memory the VF wrote; see `rewriteDirty`. */
  | 'rewrite'
  /** Go on without a word to the driver: between the load of a state and RUNNING; `relayVersion`. */
  | 'unnoticed'
  /** Raise the VF's interrupt once. */
  | 'interrupt'
  /** The state runs elsewhere: not to run before a reset. */
  | 'fence'
  | 'unfence';

/** What a server answers; everything may be absent. */
export interface ToolAnswer {
  /** `vf`: first GGTT address, undefined when it is not known. */
  readonly ggttStart?: number | undefined;
  /** `vf`: whether the driver starts or leaves, and could not recover from a move. */
  readonly unready?: boolean | undefined;
  /** `vf`: what the driver agreed on with the PF's, undefined before it did. */
  readonly relayVersion?: RelayVersion | undefined;
  /** `vf`: index of the interrupts that are connected (`VFIO_PCI_IRQ`), undefined for none. */
  readonly irq?: number | undefined;
  /** `vf`: process id of the VMM. */
  readonly vmmPid?: number | undefined;
  /** `vf`: whether the writes of the VF to guest memory can be logged. */
  readonly dmaLogging?: boolean | undefined;
  /** `counters`: the number of the VF as it is now, and what was counted. */
  readonly vfid?: number | undefined;
  readonly counters?: CounterSnapshot | undefined;
  /** `rewrite`: pages that the VF had written, and messages that told of them. */
  readonly pages?: number | undefined;
  readonly messages?: number | undefined;
}

/**
 * Asks the server of the VF at `path`.
 *
 * @throws {Fault} what the server refuses; EOPNOTSUPP when it knows no requests; ENOENT,
 * ECONNREFUSED when nobody serves the VF
 */
export async function askVfServer(path: string, op: ToolOperation): Promise<ToolAnswer> {
  return await askServer(path, { ask: op }, 'answer');
}

/** Requests to one server that are made while a guest waits: their connections are made before. */
export class ToolRequests {
  readonly #path: string;
  readonly #ready: ReadyRequest[] = [];

  /** @param path of the VF's socket */
  constructor(path: string) {
    this.#path = path;
  }

  /** Makes connections for `count` requests. @throws {Fault} ENOENT, ECONNREFUSED */
  async prepare(count: number): Promise<void> {
    while (this.#ready.length < count) this.#ready.push(await readyRequest(this.#path));
  }

  /**
   * Asks, over a connection that is there already if one is left.
   *
   * @param more members of the request
   * @throws {Fault} as {@link askVfServer}
   */
  async ask(op: ToolOperation, more: Fields = {}): Promise<ToolAnswer> {
    const ready = this.#ready.pop() ?? (await readyRequest(this.#path));
    return await ready.ask({ ...more, ask: op }, 'answer');
  }

  /** Ends the connections that were not needed. Idempotent. */
  close(): void {
    for (const each of this.#ready.splice(0)) each.close();
  }
}
