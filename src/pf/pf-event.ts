import type { Fault } from '../base/fault.ts';
import type { VfThreshold } from '../xe/guc/pf-actions.ts';
import type { VramLastPass } from './ports.ts';

/** What the control of a VF on one GT came to. */
export type ControlOutcome =
  | 'paused'
  | 'resumed'
  | 'stopped'
  | 'saved'
  | 'restored'
  | 'flr-begun'
  | 'flr-done'
  | 'failed'
  | 'mismatch';

/** What the PF has to tell, for logs and displays; nothing waits for whoever listens. */
export type PfEvent =
  | {
      readonly type: 'control';
      readonly vfid: number;
      readonly gt: number;
      readonly outcome: ControlOutcome;
      /** Why, for `failed` and `mismatch`. */
      readonly cause?: Fault;
    }
  /** VFs were enabled (more than 0) or disabled. */
  | { readonly type: 'vfs'; readonly enabled: number }
  /** A restored stream had a packet of a type that nobody knows. */
  | {
      readonly type: 'packet-skipped';
      readonly vfid: number;
      readonly gt: number;
      readonly packetType: number;
    }
  /** A VF that was saved while it ran stands still, and what changed last was found. */
  | ({ readonly type: 'precopy-stopped'; readonly vfid: number } & VramLastPass)
  /** A VF's driver agreed on a version of the VF/PF interface. */
  | {
      readonly type: 'handshake';
      readonly vfid: number;
      readonly version: { readonly major: number; readonly minor: number };
    }
  /** Firmware counted more adverse events of a VF than its threshold allows. */
  | {
      readonly type: 'adverse-event';
      readonly vfid: number;
      readonly gt: number;
      readonly threshold: VfThreshold | undefined;
    }
  /** A message of firmware or of a VF made no sense and was dropped. */
  | { readonly type: 'message-refused'; readonly gt: number; readonly cause: Fault };
