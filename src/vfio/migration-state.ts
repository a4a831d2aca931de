/**
 * The VFIO migration states and the rule that leads from one to another.
 *
 * Source: include/uapi/linux/vfio.h (enum vfio_device_mig_state),
 * drivers/vfio/vfio_main.c:vfio_mig_get_next_state.
 */
import { Fault } from '../base/fault.ts';
import { VFIO_MIGRATION } from './uapi.ts';

/** `enum vfio_device_mig_state`. */
export const MIG_STATE = {
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
} as const;

/** The name of a migration state, spelled as in the uAPI header. */
export type MigStateName = keyof typeof MIG_STATE;
/** The number of a migration state. */
export type MigState = (typeof MIG_STATE)[MigStateName];

const NAMES = Object.keys(MIG_STATE) as MigStateName[];

/** The name of state number `state`, or the number as text when there is no such state. */
export function migStateName(state: number): string {
  return NAMES[state] ?? String(state);
}

const { STOP_COPY, P2P, PRE_COPY } = VFIO_MIGRATION;

/** The flags that must all be set for a state to exist; ERROR can never be asked for. */
const NEEDS: Readonly<Record<MigState, number>> = {
  [MIG_STATE.ERROR]: Number.NaN,
  [MIG_STATE.STOP]: STOP_COPY,
  [MIG_STATE.RUNNING]: STOP_COPY,
  [MIG_STATE.STOP_COPY]: STOP_COPY,
  [MIG_STATE.RESUMING]: STOP_COPY,
  [MIG_STATE.RUNNING_P2P]: STOP_COPY | P2P,
  [MIG_STATE.PRE_COPY]: STOP_COPY | PRE_COPY,
  [MIG_STATE.PRE_COPY_P2P]: STOP_COPY | P2P | PRE_COPY,
};

/** True when a device with migration `flags` has state `state`. */
export function migStateExists(state: number, flags: number): state is MigState {
  const needs = NEEDS[state as MigState];
  return needs !== undefined && (flags & needs) === needs;
}

const E = null;
const { STOP: S, RUNNING: R, STOP_COPY: SC, RESUMING: RS } = MIG_STATE;
const { RUNNING_P2P: RP, PRE_COPY: PC, PRE_COPY_P2P: PP } = MIG_STATE;

/**
 * One step from the row's state towards the column's, for a device that has every state.
 * Columns: STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P.
 * A step to a state that the device lacks is followed by the next one of the same walk.
 */
const STEP: Readonly<Record<number, ReadonlyArray<MigState | null>>> = {
  [S]: [S, RP, SC, RS, RP, RP, RP],
  [R]: [RP, R, RP, RP, RP, PC, RP],
  [SC]: [S, S, SC, S, S, E, E],
  [RS]: [S, S, S, RS, S, S, S],
  [RP]: [S, R, S, S, RP, R, PP],
  [PC]: [R, R, PP, R, R, PC, PP],
  [PP]: [RP, RP, SC, RP, RP, PC, PP],
};

/**
 * The next state on the way from `current` to `wanted` for a device with migration `flags`.
 *
 * @returns the state that one arc leads to (equal to `current` when already there)
 * @throws {Fault} EINVAL when either state does not exist for these flags, or no way leads there
 */
export function nextState(current: number, wanted: number, flags: number): MigState {
  if (!migStateExists(current, flags))
    throw new Fault('EINVAL', `${migStateName(current)} is no state of this device`);
  if (!migStateExists(wanted, flags))
    throw new Fault('EINVAL', `this device has no state ${migStateName(wanted)}`);
  let step: number = current;
  do {
    const next: MigState | null | undefined = STEP[step]?.[wanted - 1];
    if (next === null || next === undefined)
      throw new Fault(
        'EINVAL',
        `no way leads from ${migStateName(current)} to ${migStateName(wanted)}`,
      );
    step = next;
  } while (!migStateExists(step, flags));
  return step as MigState;
}
