/**
 * What a stock xe makes a VF do in a probe, by the server's counters, beside what it made a
 * throw-away model of the device do that answered nothing more than needed; and the time of a probe,
 * of which most is the guest's own under TCG. Needs the guest rig; without it there are no rows.
 */
import { runGuest } from '../dist/app/guest.js';
import { findRig } from '../guest/rig.mjs';

/** Linux 7.3.4 on Panther Lake. */
const MODEL = { reads: 275, writes: 1566, interrupts: 134 };

/** @returns {Promise<object[]>} counts of one probe */
export async function guestProbe({ quick }) {
  if (quick || findRig().rig === undefined) return [];
  const result = await runGuest({
    platform: 'ptl',
    vfs: 1,
    signal: new AbortController().signal,
    onEvent: () => {},
  });
  if (!result.ok) throw new Error(`the probe did not go well: see ${result.kernelLog.path}`);
  const [{ accesses, interrupts }] = result.counters;
  const sum = Object.values(interrupts).reduce((total, count) => total + count, 0);
  const ours = { reads: accesses.reads, writes: accesses.writes, interrupts: sum };
  return Object.entries(MODEL).map(([name, yardstick]) => ({
    name: `${name} in a probe of xe`,
    unit: 'count',
    ours: ours[name],
    yardstick,
    yardstickName: 'a model that does no more than needed',
    reach: 1.2,
    better: 'lower',
  }));
}
