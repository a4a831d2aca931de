import { ERRNO, type ErrnoName } from './errno.ts';

/** What a {@link Fault} may carry beside its errno and reason. */
export interface FaultOptions {
  /** One sentence: what the caller can do next. */
  readonly hint?: string;
  /** The fault that led to this one. */
  readonly cause?: unknown;
}

/**
 * A refusal or failure with the errno that Linux would give and a one-line reason.
 *
 * Every error that input, a peer or a device can provoke is a Fault; a programmer's mistake is a
 * TypeError or RangeError and is not caught.
 */
export class Fault extends Error {
  /** The errno's name, such as `EINVAL`. */
  readonly code: ErrnoName;
  /** The errno's positive number. */
  readonly errno: number;
  /** What the caller can do next, when there is something. */
  readonly hint: string | undefined;

  constructor(code: ErrnoName, reason: string, options: FaultOptions = {}) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Fault';
    this.code = code;
    this.errno = ERRNO[code];
    this.hint = options.hint;
  }
}

/** A fault in a migration stream; knows the offending packet's place. */
export class StreamFault extends Fault {
  /** Byte offset in the stream of the offending packet's header. */
  readonly offset: number;
  /** 0-based index of the offending packet. */
  readonly packet: number;

  constructor(
    code: ErrnoName,
    reason: string,
    place: { readonly offset: number; readonly packet: number },
    options: FaultOptions = {},
  ) {
    super(code, reason, options);
    this.name = 'StreamFault';
    this.offset = place.offset;
    this.packet = place.packet;
  }
}

/** A failure of the device itself: the migration state goes to ERROR and only reset recovers. */
export class DeviceFault extends Fault {
  constructor(code: ErrnoName, reason: string, options: FaultOptions = {}) {
    super(code, reason, options);
    this.name = 'DeviceFault';
  }
}

/** Who a step of a migration was addressed to; `tool` when neither end is to blame. */
export type MigrationRole = 'source' | 'target' | 'tool';

/** What became of one end of a migration that failed. */
export type MigrationEndState = 'untouched' | 'running' | 'stopped' | 'reset' | 'gone' | 'unknown';

/** Where a migration failed, and how its ends were left. */
export interface MigrationPlace {
  /** The phase that failed, such as `copy`. */
  readonly phase: string;
  readonly role: MigrationRole;
  readonly ends: { readonly source: MigrationEndState; readonly target: MigrationEndState };
}

/** A migration that failed and was rolled back; the reason is the same for both ends. */
export class MigrationFault extends Fault {
  readonly phase: string;
  readonly role: MigrationRole;
  readonly ends: MigrationPlace['ends'];

  constructor(code: ErrnoName, reason: string, place: MigrationPlace, options: FaultOptions = {}) {
    super(code, reason, options);
    this.name = 'MigrationFault';
    this.phase = place.phase;
    this.role = place.role;
    this.ends = place.ends;
  }
}

/** `error` as a Fault: itself, or an `EIO` Fault that keeps it as the cause. */
export function toFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new Fault('EIO', reason, { cause: error });
}
