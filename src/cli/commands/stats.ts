import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { statsSince, type VfStats, vfStats } from '../../app/stats.ts';
import { type CommandContext, examples } from '../command.ts';
import { counterLines } from '../counter-output.ts';
import { integerOption } from '../options.ts';

/** Seconds between two looks unless given, and at most. */
const WATCH_S = 1;
const MAX_WATCH_S = 86_400;

/** `stats`. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<socket...>', 'the sockets that VFs are served at')
    .option(
      '--watch [seconds]',
      'go on until Ctrl-C, and show what came since the last look',
      integerOption(1, MAX_WATCH_S),
    )
    .action(async (sockets: string[], { watch }: { readonly watch?: number | true }) => {
      const last = new Map<string, VfStats>();
      await show(sockets, last, context);
      if (watch === undefined) return;
      const ms = (watch === true ? WATCH_S : watch) * 1000;
      while (await pause(ms, context.signal)) await show(sockets, last, context);
    });
  examples(command, [
    'xe-vfio stats /run/vf1.sock',
    'xe-vfio stats /run/vf1.sock /run/vf2.sock --json',
    'xe-vfio stats /run/vf1.sock --watch 5',
  ]);
}

/** A document of totals, or tables of what is new, for each VF. */
async function show(
  sockets: readonly string[],
  last: Map<string, VfStats>,
  context: CommandContext,
): Promise<void> {
  for (const socket of sockets) {
    context.doing = `stats of ${socket}`;
    const stats = await vfStats(socket);
    const before = last.get(socket);
    last.set(socket, stats);
    const { vfid, counters } = stats;
    context.output.result({ event: 'stats', socket, vfid, ...counters }, () => [
      `VF ${vfid} on ${socket}`,
      ...counterLines(before?.vfid === vfid ? statsSince(before.counters, counters) : counters),
    ]);
  }
}

/** @returns false when it was called off */
async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
  return !signal.aborted;
}
