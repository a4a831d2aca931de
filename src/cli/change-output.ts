/** How a change of the machine is told. */
import type { Change } from '../app/provision-change.ts';

/** The part of a JSON document that is about the change. */
export function changeDocument({ writes, made }: Change): object {
  return { changed: made && writes.length > 0, dryRun: !made, writes };
}

/** The lines of a result: the writes alone in a dry run, else what is so now. */
export function changeLines({ commands, made }: Change, now: string): string[] {
  if (!made) return commands.length === 0 ? ['# nothing to do'] : [...commands];
  return [commands.length === 0 ? `${now} (nothing had to be changed)` : now];
}
