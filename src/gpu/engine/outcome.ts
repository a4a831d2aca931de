/** How a command ended, and what executes one. */
import type { CommandStreamer } from './command-streamer.ts';

/** How a command ended; numbers, because this is asked for every command. */
export const OUTCOME = {
  /** Done: the next command follows. */
  NEXT: 0,
  /** Done: the streamer stands elsewhere now. */
  JUMP: 1,
  /** It waits, and will be tried again. */
  WAIT: 2,
  /** The watchdog counter ran out while it waited; it is given up. */
  WATCHDOG: 3,
  /** An access failed; nothing was done that cannot be repeated. */
  FAULT: 4,
  /** The engine does not get past it. */
  HANG: 5,
  /** A transfer has used up the budget. */
  MORE: 6,
} as const;

/** One of {@link OUTCOME}. */
export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/**
 * Executes one command.
 *
 * @param words where the command stands, header at index `at`, `length` dwords of it
 */
export type CommandHandler = (
  streamer: CommandStreamer,
  words: Uint32Array,
  at: number,
  length: number,
) => Outcome;
