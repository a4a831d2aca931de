/** The counters of a VF as text. */
import type { CounterSnapshot, NamedCounts } from '../app/serve-messages.ts';
import { formatSize } from '../base/size.ts';
import { formatTable } from './table.ts';

/** Tables of what a VF was made to do; what never happened is left out. */
export function counterLines(snapshot: CounterSnapshot): string[] {
  const { registers, accesses, interrupts, gucMessages, commands, faults } = snapshot;
  const rows = Object.entries(registers).map(([name, { reads, writes }]) => [
    name,
    String(reads),
    String(writes),
  ]);
  rows.push(['all', String(accesses.reads), String(accesses.writes)]);
  return [
    ...formatTable(
      [
        { title: 'accesses' },
        { title: 'reads', align: 'right' },
        { title: 'writes', align: 'right' },
      ],
      rows,
    ),
    ...countTable('interrupts', interrupts),
    ...countTable('GuC mailbox', gucMessages.mailbox),
    ...countTable('GuC H2G', gucMessages.H2G),
    ...countTable('GuC G2H', gucMessages.G2H),
    ...countTable('commands', commands),
    ...countTable('faults', faults),
    `copied ${formatSize(snapshot.copiedBytes)}`,
  ];
}

function countTable(title: string, counts: NamedCounts): string[] {
  const rows = Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => [name, String(count)]);
  if (rows.length === 0) return [];
  return formatTable([{ title }, { title: 'count', align: 'right' }], rows);
}
