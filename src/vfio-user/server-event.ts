/** What a server tells the outside; `cli/` and `app/` make log lines of it. */
import type { Fault } from '../base/fault.ts';
import type { ConnectionRole } from './capabilities.ts';

/** One thing that happened in a server. */
export type ServerEvent =
  | { readonly type: 'connected'; readonly connection: number }
  | {
      readonly type: 'negotiated';
      readonly connection: number;
      readonly role: ConnectionRole;
      readonly minor: number;
      /** Process id of the client. */
      readonly pid: number;
      /** What the client says of itself in the capability `xe_vfio`, unchecked. */
      readonly extension: Readonly<Record<string, unknown>> | undefined;
    }
  | {
      /** How guest memory of this client is reached: mapped, or unsealed memory by messages. */
      readonly type: 'dma-trust';
      readonly connection: number;
      readonly trusted: boolean;
      readonly reason: string;
    }
  | { readonly type: 'disconnected'; readonly connection: number; readonly reason: string }
  | {
      /** A migration client vanished in the middle of its session. */
      readonly type: 'session-rolled-back';
      readonly connection: number;
      readonly from: string;
      readonly action: 'resumed' | 'kept' | 'reset' | 'failed';
      readonly error?: unknown;
    }
  | {
      /** A client was told no. */
      readonly type: 'refused';
      readonly connection: number;
      /** Undefined before a role was agreed on. */
      readonly role: ConnectionRole | undefined;
      readonly command: string;
      readonly fault: Fault;
    }
  | {
      /** Something failed that is not the client's fault, or while cleaning up. */
      readonly type: 'error';
      readonly connection: number | undefined;
      readonly what: string;
      readonly error: unknown;
    };
