import type { Command } from 'commander';
import { requestRehome } from '../../app/rehome-control.ts';
import type { RehomeAnswer } from '../../app/serve-messages.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { UsageFault } from '../exit-codes.ts';
import { integerOption } from '../options.ts';

interface RehomeFlags {
  readonly toVf?: number;
  readonly toPf?: string;
  readonly transparent?: true;
}

/** `rehome`. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<socket>', 'the socket that the VF is served at')
    .option('--to-vf <number>', 'the VF to move to', integerOption(1, 63))
    .option(
      '--to-pf <name>',
      'another PF of the server (serve --pfs); the VF of the same number there',
    )
    .option(
      '--transparent',
      "move to a VF with the same GGTT base, of which the guest's driver learns nothing",
    )
    .action(async (socket: string, flags: RehomeFlags) => {
      const { toVf, toPf, transparent } = flags;
      context.doing = `rehome of ${socket}`;
      if (toVf === undefined && toPf === undefined)
        throw new UsageFault('neither --to-vf nor --to-pf was given');
      const answer = await requestRehome(socket, { vfid: toVf, pf: toPf, transparent });
      context.output.result({ event: 'rehomed', socket, ...answer }, () => lines(answer));
    });
  examples(command, [
    'xe-vfio rehome /run/vf1.sock --to-vf 2',
    'xe-vfio rehome /run/vf1.sock --to-pf b --transparent --json',
  ]);
}

function lines({ from, to, transparent, ...times }: RehomeAnswer): string[] {
  const { holdMs, stopMs, copyMs, loadMs, swapMs, runMs, bytes } = times;
  const ms = (value: number) => `${value.toFixed(2)} ms`;
  return [
    `VF ${from.vfid} of ${from.pf} is now VF ${to.vfid} of ${to.pf}${transparent ? ', unnoticed' : ''}`,
    `the guest was held for ${ms(holdMs)}: stop ${ms(stopMs)}, copy ${ms(copyMs)} (${formatSize(bytes)}), ` +
      `load ${ms(loadMs)}, swap ${ms(swapMs)}, run ${ms(runMs)}`,
  ];
}
