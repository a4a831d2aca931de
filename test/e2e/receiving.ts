import { Cli } from './cli.ts';

/** Starts `xe-vfio receive` and waits until it listens. */
export async function startReceiver(
  socket: string,
  args: readonly string[] = [],
  scheme: 'tcp' | 'tls' = 'tcp',
): Promise<{ readonly receiver: Cli; readonly address: string }> {
  const listen = `${scheme}:127.0.0.1:0`;
  const receiver = new Cli(['receive', socket, '--listen', listen, '--json', ...args]);
  const address = await receiver.until('listening', () => {
    const first = receiver.documents.find(({ event }) => event === 'listening');
    return first?.['address'] as string | undefined;
  });
  return { receiver, address };
}
