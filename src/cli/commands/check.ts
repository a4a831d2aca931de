import type { Command } from 'commander';
import { type CheckResult, check } from '../../app/check.ts';
import { type CommandContext, examples } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import { formatTable } from '../table.ts';

/** `check`. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<from>', 'a VF or a file: vfio-user:PATH, vfio:BDF, file:PATH or a path')
    .argument('<to>', 'the VF that would take the state')
    .action(async (from: string, to: string) => {
      context.doing = `check of ${from} and ${to}`;
      const result = await check(from, to);
      context.output.result(document(result), () => lines(from, to, result));
      if (!result.compatible) context.exitCode = EXIT.INCOMPATIBLE;
    });
  examples(command, ['xe-vfio check /run/a.sock /run/b.sock', 'xe-vfio check vf.xevf /run/b.sock']);
}

function document({ compatible, mismatches, unknown, source, target }: CheckResult): object {
  return { ok: compatible, mismatches, unknown, source, target };
}

function lines(from: string, to: string, result: CheckResult): string[] {
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
  if (result.unknown.length > 0) text.push(`not compared, unknown: ${result.unknown.join(', ')}`);
  text.push(
    result.compatible ? `${from} can be moved to ${to}` : `${from} cannot be moved to ${to}`,
  );
  return text;
}
