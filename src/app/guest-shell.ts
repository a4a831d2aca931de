/** A terminal on a guest's serial console. */
import type { Readable, Writable } from 'node:stream';
import { Fault } from '../base/fault.ts';
import type { GuestSession } from './guest-session.ts';

/** Where somebody types and looks. */
export interface GuestTerminal {
  readonly input: Readable;
  readonly output: Writable;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}

/**
 * A shell on the guest's console until it is left.
 * @throws {Fault} ENODEV when the guest is gone
 */
export async function guestShell(session: GuestSession, terminal: GuestTerminal): Promise<void> {
  const { console } = session;
  if (console === undefined) throw new Fault('ENODEV', 'the guest has no console');
  const { input, output, columns = 80, rows = 24 } = terminal;
  const toGuest = (bytes: Uint8Array) => console.write(bytes);
  const fromGuest = (bytes: Uint8Array) => output.write(bytes);
  input.on('data', toGuest);
  console.on('data', fromGuest);
  // The end of what is typed is the end of the shell.
  const onEnd = () => console.write('\x04');
  input.once('end', onEnd);
  try {
    await session.run(
      `stty -F /dev/ttyS0 sane cols ${columns} rows ${rows}; cd /root; ` +
        'setsid -c sh -i </dev/ttyS0 >/dev/ttyS0 2>&1',
      { timeoutMs: Number.POSITIVE_INFINITY },
    );
  } finally {
    input.off('data', toGuest);
    input.off('end', onEnd);
    input.pause();
    console.off('data', fromGuest);
    console.resume();
  }
}
