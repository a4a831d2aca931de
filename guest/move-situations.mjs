/**
 * Moves at times that are not good ones: without a driver, while it comes and goes, during
 * function-level resets, and one after the other without a pause.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** How often the driver is bound and unbound under moves, of each kind. */
const BINDS = 20;
const RESETS = 5;
/** A driver is taken to be starting for a second after its last sign of that. */
const STARTED_MS = 1200;
/** Moves one after the other, as fast as they go. */
const RUN = 20;
/** A move that was refused is tried again after so long. */
const AGAIN_MS = 2;

/**
 * Moves the VF until `work` is done; not while something is done that it gives to its argument.
 * @returns how often that went well and how often it was refused
 */
async function during(guest, { transparent, everyMs }, work) {
  let open = true;
  let calm = Promise.resolve();
  let moving = Promise.resolve();
  const done = work(async (quiet) => {
    calm = moving.then(quiet);
    await calm;
  }).finally(() => {
    open = false;
  });
  // Its failure is told when it is awaited.
  done.catch(() => {});
  let moved = 0;
  let refused = 0;
  while (open) {
    await calm.catch(() => {});
    try {
      const move = guest.rehome({ transparent });
      moving = move.then(
        () => {},
        () => {},
      );
      await move;
      moved++;
      await sleep(everyMs);
    } catch (error) {
      // A driver that is starting or leaving could not recover; nothing has changed.
      if (error.code !== 'EBUSY' || transparent) {
        await done.catch(() => {});
        throw error;
      }
      refused++;
      await sleep(AGAIN_MS);
    }
  }
  await done;
  return { moved, refused };
}

/**
 * Goes through the situations of a guest without a driver, and leaves it with one.
 *
 * @param {import('./moving-guest.mjs').MovingGuest} guest
 * @param {{ everyMs: number, binds?: number, say: (line: string) => void }} options
 * @returns one row for each
 */
export async function situations(guest, { everyMs, binds = BINDS, say }) {
  const rows = [];
  const situation = async (name, options, work) => {
    const row = { situation: name, ...(await during(guest, { everyMs, ...options }, work)) };
    rows.push(row);
    say(`${name}: moved ${row.moved} times, refused ${row.refused} times`);
  };
  const plain = { transparent: false };
  const unnoticed = { transparent: true };
  await situation('no driver', plain, () => sleep(500));
  await situation('no driver, transparent', unnoticed, () => sleep(500));
  await situation('xe is loaded', plain, () => guest.probe());
  await guest.recovered();
  const at = `/sys/bus/pci/devices/${guest.device.address}`;
  const unbind = `echo ${guest.device.address} > ${at}/driver/unbind`;
  const bind = `echo ${guest.device.address} > /sys/bus/pci/drivers/xe/bind`;
  await guest.must(unbind);
  for (const [name, options] of [
    ['', plain],
    [', transparent', unnoticed],
  ]) {
    await situation(`${RESETS} resets${name}`, options, () =>
      guest.must(`for n in $(seq ${RESETS}); do echo 1 > ${at}/reset; done`),
    );
    await situation(`${binds} times bind and unbind${name}`, options, async (calm) => {
      for (let n = 0; n < binds; n++) {
        await guest.must(bind);
        await guest.findDevice();
        if (!options.transparent) await sleep(STARTED_MS);
        // On integrated parts stock xe (7.3) frees the contexts for compression metadata when it begins
        // to leave, and a recovery under way then writes there: a move must not come just before.
        if (options.transparent || guest.discrete) await guest.must(unbind);
        else
          await calm(async () => {
            await guest.recovered();
            await guest.must(unbind);
          });
      }
    });
  }
  await situation('bind', plain, () => guest.must(bind));
  await guest.findDevice();
  return rows;
}

/**
 * Moves the VF while its driver still recovers from the move before.
 *
 * @param {import('./moving-guest.mjs').MovingGuest} guest with a loop that runs
 * @param {(line: string) => void} say
 */
export async function moveOnAndOn(guest, say) {
  await guest.session.mark('on and on');
  const rows = [];
  const run = async (name, move) => {
    for (let n = 0; n < RUN; n++) await move(n);
    rows.push({ situation: name, moved: RUN, refused: 0 });
    say(`${name}: moved ${RUN} times`);
    await guest.recovered();
  };
  await run('moves without a pause', () => guest.rehome());
  await run('moves without a pause, every other one transparent', (n) =>
    guest.rehome({ transparent: n % 2 === 1 }),
  );
  const { refused } = await guest.judge('on and on');
  if (refused === 0) throw new Error('no recovery was overtaken by the next move');
  say(`${refused} times RESFIX_DONE was refused with VF_MIGRATED`);
  return rows;
}
