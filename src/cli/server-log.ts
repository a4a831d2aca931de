/** The log of a server: lines of JSON on stderr. */
import { destination, pino } from 'pino';
import type { ServedHost } from '../app/serve.ts';

/** Writes what happens at the sockets to stderr. Each line is written before the next happens. */
export function logServer(events: ServedHost['events']): void {
  const log = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ fd: 2, sync: true }),
  );
  events.on(({ vfid, level, message, details }) => log[level]({ vfid, ...details }, message));
}
