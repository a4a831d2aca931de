/** A served VF as it goes from one serving process to another, beside its stream. */
import { Fault } from '../base/fault.ts';
import type { VfBarMemory } from '../gpu/emulated-gpu.ts';
import type { RelayVersion } from '../pf/pf-service.ts';
import { Memfd } from '../sys/memfd.ts';
import type { Attachment } from '../vfio-pci/attachment.ts';
import type { ServedSocketState } from '../vfio-user/server.ts';

/** What goes over. */
export interface HandoverState {
  readonly server: ServedSocketState;
  /** Without guest memory, which is part of the VMM's connection. */
  readonly attachment: Omit<Attachment, 'mappings'>;
  readonly memory: VfBarMemory;
  /** What its driver and the PF's agreed on, if they did. */
  readonly relayVersion: RelayVersion | undefined;
}

type Json = Readonly<Record<string, unknown>>;

/** @returns JSON, and the descriptors that it counts from 0, borrowed */
export function encodeHandover({ server, attachment, memory, relayVersion }: HandoverState): {
  readonly json: Json;
  readonly fds: readonly number[];
} {
  const fds: number[] = [];
  const put = (fd: number) => (fd < 0 ? -1 : fds.push(fd) - 1);
  const { vmm } = server;
  const json = {
    path: server.path,
    resetDue: server.resetDue,
    relayVersion,
    listener: put(server.listener),
    vmm: vmm && {
      socket: put(vmm.socket),
      hello: base64(vmm.hello),
      skip: vmm.skip,
      unread: base64(vmm.unread.bytes),
      batches: vmm.unread.batches.map((batch) => ({ at: batch.at, fds: batch.fds.map(put) })),
      dma: vmm.dma.map(({ request, fd }) => ({ request, fd: put(fd) })),
    },
    registers: base64(attachment.config.registers),
    values: base64(attachment.config.values),
    irqs: {
      ...attachment.irqs,
      triggers: attachment.irqs.triggers.map(([vector, fd]) => [vector, put(fd)]),
      singles: attachment.irqs.singles.map(([index, fd]) => [index, put(fd)]),
    },
    ggtt: {
      memfd: put(memory.ggtt.memfd.fd),
      start: memory.ggtt.start,
      before: base64(new Uint8Array(memory.ggtt.before.buffer)),
    },
    vram: memory.vram === undefined ? undefined : put(memory.vram.fd),
  };
  return { json, fds };
}

/**
 * Reads what {@link encodeHandover} of the same version wrote.
 * @param fds received descriptors, the result's from now on
 * @throws {Fault} EPROTO when one of them is missing
 */
export function decodeHandover(json: Json, fds: readonly number[]): HandoverState {
  const told = json as unknown as ReturnType<typeof shape>;
  const take = (index: number) => {
    if (index < 0) return -1;
    const fd = fds[index];
    if (fd === undefined) throw new Fault('EPROTO', `descriptor ${index} did not come`);
    return fd;
  };
  const { vmm, irqs, ggtt } = told;
  return {
    server: {
      path: told.path,
      resetDue: told.resetDue,
      listener: take(told.listener),
      vmm: vmm && {
        socket: take(vmm.socket),
        hello: bytesOf(vmm.hello),
        skip: vmm.skip,
        unread: {
          bytes: bytesOf(vmm.unread),
          batches: vmm.batches.map((batch) => ({ at: batch.at, fds: batch.fds.map(take) })),
        },
        dma: vmm.dma.map((entry) => ({ request: entry.request, fd: take(entry.fd) })),
      },
    },
    attachment: {
      config: { registers: bytesOf(told.registers), values: bytesOf(told.values) },
      irqs: {
        ...irqs,
        enabled: irqs.enabled ?? undefined,
        triggers: irqs.triggers.map(([vector, fd]) => [vector, take(fd)] as const),
        singles: irqs.singles.map(([index, fd]) => [index, take(fd)] as const),
      },
    },
    memory: {
      ggtt: {
        memfd: new Memfd(take(ggtt.memfd)),
        start: ggtt.start,
        before: new Uint32Array(bytesOf(ggtt.before).buffer),
      },
      vram: told.vram === undefined ? undefined : new Memfd(take(told.vram)),
    },
    relayVersion: told.relayVersion,
  };
}

/** The JSON's type, bytes as base64 and descriptors as their numbers. */
declare function shape(): {
  readonly path: string | undefined;
  readonly resetDue: boolean;
  readonly relayVersion: RelayVersion | undefined;
  readonly listener: number;
  readonly vmm:
    | {
        readonly socket: number;
        readonly hello: string;
        readonly skip: number;
        readonly unread: string;
        readonly batches: readonly { readonly at: number; readonly fds: readonly number[] }[];
        readonly dma: NonNullable<ServedSocketState['vmm']>['dma'];
      }
    | undefined;
  readonly registers: string;
  readonly values: string;
  readonly irqs: Attachment['irqs'];
  readonly ggtt: { readonly memfd: number; readonly start: number; readonly before: string };
  readonly vram: number | undefined;
};

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
}

/** In memory of their own, so that they can be looked at as words. */
function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text, 'base64'));
}
