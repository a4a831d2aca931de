import type { Command } from 'commander';
import { check } from '../../app/check.ts';
import { type Checked, checkVia, type Forecast } from '../../app/network-check.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { EXIT, UsageFault } from '../exit-codes.ts';
import { addViaOptions, secondsOption, type ViaFlags, viaOptions } from '../network-options.ts';
import { integerOption } from '../options.ts';
import { formatDuration } from '../progress.ts';
import { roundMs } from '../session-output.ts';
import { formatFields, formatTable } from '../table.ts';

/** A forecast measures for so long unless told otherwise. */
const FORECAST_SECONDS = 3;

interface CheckFlags extends ViaFlags {
  readonly forecast?: true;
  readonly seconds: number;
}

/** `check`. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<from>', 'a VF or a file: vfio-user:PATH, vfio:BDF, file:PATH or a path')
    .argument('[to]', 'the VF that would take the state; with --via the one that a receiver offers')
    .option('--forecast', 'measure the way to the other host: how long would it take?')
    .option('--seconds <count>', 'measure for so long', secondsOption, FORECAST_SECONDS)
    .option('--max-downtime <ms>', 'say whether the VF would be down for less', integerOption(1))
    .action(async (from: string, to: string | undefined, flags: CheckFlags) => {
      context.doing = `check of ${from} and ${to ?? flags.via}`;
      const via = viaOptions(flags);
      const there = to ?? via?.via;
      if (there === undefined) throw new UsageFault('neither a target nor --via was given');
      if (flags.forecast === true && via === undefined)
        throw new UsageFault('--forecast measures the way to another host: --via is missing');
      const result: Checked =
        via === undefined
          ? await check(from, there)
          : await checkVia(from, to, {
              ...via,
              forecastMs: flags.forecast === true ? flags.seconds * 1000 : undefined,
              signal: context.signal,
            });
      context.output.result(document(result), () => lines(from, there, result));
      if (!result.compatible) context.exitCode = EXIT.INCOMPATIBLE;
      else if (result.forecast?.fits === false) context.exitCode = EXIT.PRECONDITION;
    });
  addViaOptions(command);
  examples(command, [
    'xe-vfio check /run/a.sock /run/b.sock',
    'xe-vfio check vf.xevf /run/b.sock',
    'xe-vfio check /run/a.sock --via tcp:127.0.0.1:4444 --forecast --max-downtime 300',
  ]);
}

function document({ compatible, forecast, ...result }: Checked): object {
  const { mismatches, unknown, source, target } = result;
  const told = forecast === undefined ? {} : { forecast: forecastDocument(forecast) };
  return {
    ok: compatible && forecast?.fits !== false,
    mismatches,
    unknown,
    source,
    target,
    ...told,
  };
}

function forecastDocument({ downtimeMs, totalMs, stopMs, staleMs, ...rest }: Forecast): object {
  const known = Object.entries({ downtimeMs, totalMs, stopMs, staleMs }).filter(
    (entry): entry is [string, number] => entry[1] !== undefined,
  );
  return { ...rest, ...Object.fromEntries(known.map(([key, ms]) => [key, roundMs(ms)])) };
}

function forecastLines(told: Forecast): string[] {
  const { method, streamBytes, bytesPerSecond, dirtyBytesPerSecond } = told;
  const { downtimeMs, totalMs, rounds, maxDowntimeMs, fits } = told;
  const change =
    dirtyBytesPerSecond === undefined
      ? 'only while it stands still'
      : `${formatSize(dirtyBytesPerSecond)}/s change`;
  const allowed =
    maxDowntimeMs === undefined
      ? []
      : [['allowed', `${maxDowntimeMs} ms: ${fits ? 'fits' : 'too long'}`]];
  return [
    ...formatFields([
      ['state', `${formatSize(streamBytes)}, ${change}`],
      ['bandwidth', `${formatSize(bytesPerSecond)}/s`],
      ['method', rounds === 0 ? method : `${method}, ${rounds} rounds`],
      ['downtime', `${downtimeMs.toFixed(0)} ms`],
      ['total', formatDuration(totalMs)],
      ...(allowed as [string, string][]),
    ]),
    '',
  ];
}

function lines(from: string, to: string, result: Checked): string[] {
  const text: string[] = [];
  if (result.mismatches.length > 0)
    text.push(
      ...formatTable(
        ['', 'what', 'source', 'target', 'consequence'].map((title) => ({ title })),
        result.mismatches.map(({ blocks, field, source, target, consequence }) => [
          blocks ? 'no' : 'note',
          field,
          source,
          target,
          consequence,
        ]),
      ),
      '',
    );
  if (result.forecast !== undefined) text.push(...forecastLines(result.forecast));
  if (result.unknown.length > 0) text.push(`not compared, unknown: ${result.unknown.join(', ')}`);
  text.push(
    result.compatible ? `${from} can be moved to ${to}` : `${from} cannot be moved to ${to}`,
  );
  return text;
}
