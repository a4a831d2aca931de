/** A stock guest whose VF is moved under it: re-homing, and a hand-over while its driver recovers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MovingGuest } from '../../../guest/moving-guest.mjs';
import { findRig } from '../../../guest/rig.mjs';

/** Under TCG on two busy cores; alone it takes half a minute. */
const TIMEOUT_MS = 300_000;
const MOVES = 10;

const { rig, reason } = findRig();

describe.skipIf(rig === undefined)(`a VF that is moved under a stock guest ${reason ?? ''}`, () => {
  let guest: MovingGuest;

  beforeAll(async () => {
    guest = await MovingGuest.start({ platform: 'ptl', say: () => {} });
    await guest.probe();
    await guest.startLoop('spinner,semaphore');
    await guest.session.mark('moves');
  }, TIMEOUT_MS);

  afterAll(async () => {
    await guest?.close();
  }, TIMEOUT_MS);

  it(
    're-homes, hands over in the middle of a recovery, and loses no job',
    async () => {
      for (let n = 0; n < MOVES; n++) await guest.rehomeSoon();
      await guest.takeOver();
      await guest.moreJobs(100);
      await guest.recovered();
      const before = await guest.judge('moves');
      await guest.rehome({ transparent: true });
      await guest.moreJobs(100);
      const { jobs, bad } = await guest.endLoop();
      const { recoveries, noticed, unexpected } = await guest.judge('moves');
      expect(unexpected).toEqual([]);
      expect(jobs).toBeGreaterThan(200);
      expect(bad).toBe(0);
      expect(recoveries).toBeGreaterThan(0);
      expect(noticed).toBe(before.noticed);
    },
    TIMEOUT_MS,
  );
});
