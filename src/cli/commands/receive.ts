import type { Command } from 'commander';
import { type ReceiveEvent, receiveVf } from '../../app/network-move.ts';
import { type CommandContext, examples } from '../command.ts';
import { addNetworkOptions, networkOptions } from '../network-options.ts';
import { sessionDocument, sessionLines, showSession } from '../session-output.ts';

type ReceiveFlags = Parameters<typeof networkOptions>[0] & { readonly listen: string };

/** `receive`. */
export function define(command: Command, context: CommandContext): void {
  addNetworkOptions(command)
    .argument('<to>', 'the VF that takes the state: vfio-user:PATH, or the path of its socket')
    .requiredOption('--listen <address>', 'tcp:ADDRESS:PORT or tls:ADDRESS:PORT; port 0 for any')
    .action(async (to: string, flags: ReceiveFlags) => await run(to, flags, context));
  examples(command, [
    'xe-vfio receive /run/b.sock --listen tls:0.0.0.0:4444 \\',
    '    --tls-cert b.pem --tls-key b.key --tls-ca ca.pem',
    'xe-vfio receive /run/b.sock --listen tcp:127.0.0.1:0 --json',
  ]);
  command.addHelpText(
    'after',
    '\nTakes one VF, from `xe-vfio migrate FROM --via ADDRESS` on the other host, and ends with the same\n' +
      'report and exit code as that. `xe-vfio check FROM --via ADDRESS` may look as often as it likes.',
  );
}

async function run(to: string, flags: ReceiveFlags, context: CommandContext): Promise<void> {
  const { output } = context;
  context.doing = `receive to ${to}`;
  const view = showSession(context);
  const onEvent = (event: ReceiveEvent) => {
    if (event.type !== 'listening') return view.onEvent(event);
    const { address } = event;
    output.result({ event: 'listening', address }, () => [`listening on ${address} for ${to}`]);
  };
  try {
    const { signal } = view;
    const options = { ...networkOptions(flags), listen: flags.listen, signal, onEvent };
    const result = await receiveVf(to, options);
    if (result === undefined)
      output.result({ event: 'done', ok: true, reported: false }, () => [
        `${to} runs; the source was cut off before it could report`,
      ]);
    else
      output.result({ ...sessionDocument(result), reported: true }, () =>
        sessionLines(`${to} runs`, result),
      );
  } finally {
    view.close();
  }
}
