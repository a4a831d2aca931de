/** What happens in a serving thread, as events with words for a log. */
import type { EventChannel } from '../base/event-channel.ts';
import { Fault } from '../base/fault.ts';
import type { PfEvent } from '../pf/pf-event.ts';
import type { VfioPciEvent } from '../vfio-pci/vfio-pci-core.ts';
import type { ServerEvent } from '../vfio-user/server-event.ts';
import type { LinuxHostEvent } from './linux-host.ts';
import type { FromServer, ServeEvent } from './serve-messages.ts';

type Say = (message: FromServer) => void;

/** Passes on what happens at the socket of a VF. */
export function logServer(events: EventChannel<ServerEvent>, vfid: number, say: Say): void {
  events.on((event) => {
    const told = serverEvent(event);
    if (told !== undefined) say({ type: 'event', event: { vfid, ...told } });
  });
}

/** Passes on what the PF driver has to tell about its VFs. */
export function logPf(events: EventChannel<PfEvent>, say: Say): void {
  events.on((event) => {
    const { type, ...details } = event;
    const vfid = 'vfid' in event ? event.vfid : 0;
    say({
      type: 'event',
      event: { vfid, level: levelOf(event), message: `PF: ${type}`, details: plain(details) },
    });
  });
}

function levelOf(event: PfEvent): ServeEvent['level'] {
  if ('cause' in event && event.cause !== undefined) return 'warn';
  return event.type === 'control' ? 'debug' : 'info';
}

/** Passes on what a device could tell nobody. */
export function logDevice(events: EventChannel<VfioPciEvent>, vfid: number, say: Say): void {
  events.on(({ during, fault }) => {
    const details = { errno: fault.code, reason: fault.message };
    say({ type: 'event', event: { vfid, level: 'warn', message: `${during} failed`, details } });
  });
}

/** Passes on what the kernel has to tell about real VFs. */
export function logFunctions(events: EventChannel<LinuxHostEvent>, say: Say): void {
  events.on((event) => {
    say({ type: 'event', event: { vfid: event.vfid, ...functionEvent(event) } });
  });
}

function functionEvent(event: LinuxHostEvent): Told {
  switch (event.type) {
    case 'request':
      return {
        level: 'warn',
        message: 'the kernel wants the VF back: it is given up',
        details: {},
      };
    case 'error':
      return {
        level: 'error',
        message: 'an error on the PCI bus',
        details: { hint: 'reset the VF' },
      };
    case 'unreachable': {
      const { iova, size } = event.mapping;
      const hint = 'give the guest memory with a descriptor: memory-backend-memfd with share=on';
      const details = { iova: `0x${iova.toString(16)}`, size, reason: event.reason, hint };
      return { level: 'warn', message: 'memory that the VF cannot reach', details };
    }
  }
}

type Told = Omit<ServeEvent, 'vfid'>;

/** A VMM sends its guest elsewhere, and the VF stays behind. */
export function unattendedMigration(pid: number): Told {
  const hint = 'cancel it; xe-vfio migrate-vm moves the VF too';
  const message = 'the VMM migrates its guest without this VF, which will be dead at the target';
  return { level: 'warn', message, details: { pid, hint } };
}

function serverEvent(event: ServerEvent): Told | undefined {
  const { connection } = event;
  switch (event.type) {
    case 'connected':
      return undefined;
    case 'negotiated':
      return negotiated(event);
    case 'dma-trust':
      return info('guest memory', { connection, mapped: event.trusted, why: event.reason });
    case 'disconnected':
      return info('client left', { connection, reason: event.reason });
    case 'session-rolled-back':
      return {
        level: event.action === 'failed' ? 'error' : 'warn',
        message: `a migration client vanished in ${event.from}: the VF was ${ACTION[event.action]}`,
        details: plain({ connection, from: event.from, action: event.action, error: event.error }),
      };
    case 'refused':
      // A VMM probes what there is; a refused migration client tells why a migration failed.
      return {
        level: event.role === 'migration' ? 'warn' : 'debug',
        message: `refused ${event.command}`,
        details: plain({ connection, errno: event.fault.code, reason: event.fault.message }),
      };
    case 'error':
      return {
        level: 'error',
        message: event.what,
        details: plain({ connection, error: event.error }),
      };
  }
}

const ACTION = {
  resumed: 'set RUNNING',
  kept: 'left as it is',
  reset: 'reset',
  failed: 'not brought back',
} as const;

/** A client came; one that brings a report tells why a migration was rolled back. */
function negotiated(event: Extract<ServerEvent, { type: 'negotiated' }>): Told {
  const { connection, role, extension } = event;
  const report = extension?.['report'];
  if (role === 'migration' && typeof report === 'object' && report !== null)
    return { level: 'warn', message: 'migration rolled back', details: reportDetails(report) };
  return info(role === 'vmm' ? 'VMM connected' : 'migration client connected', { connection });
}

/** What a tool reports; a client says what it likes, so only short texts are taken over. */
function reportDetails(report: object): Record<string, string> {
  const told: Record<string, string> = {};
  for (const key of ['phase', 'role', 'errno', 'reason']) {
    const value: unknown = (report as Record<string, unknown>)[key];
    if (typeof value === 'string') told[key] = value.slice(0, 300);
  }
  return told;
}

function info(message: string, details: Record<string, unknown>): Told {
  return { level: 'info', message, details };
}

/** `details` as they can cross threads: errors as text. */
function plain(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(details).map(([key, value]) => [
      key,
      value instanceof Fault
        ? `${value.code} ${value.message}`
        : value instanceof Error
          ? String(value)
          : value,
    ]),
  );
}
