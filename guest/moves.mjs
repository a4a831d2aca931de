/**
 * Moves the VF of a running guest, again and again, and says what the guest made of it.
 *
 *     node guest/moves.mjs [--platform ptl|bmg] [--count N] [--every MS] [--transparent | --takeover]
 *                          [--with LIST] [--situations [--binds N]] [--kill] [--withhold TYPE | --wrong-ggtt] [--smp N]
 *                          [--log FILE] [--drm-debug MASK] [--json] [--verbose]
 *
 * Re-homes the VF unless `--takeover`, which replaces the serving process each time. The guest runs
 * the exerciser's loop: jobs on every engine whose results are known, in buffers that only the device
 * writes; `--with` gives it companions (see docs/gpu-exerciser.md), such as `spinner,fault,hang`.
 *
 * `--situations` moves it at other times as well: without a driver, while xe comes and goes, during
 * function-level resets, and while it still recovers from the move before.
 *
 * `--kill` also ends, with SIGKILL, the tool at any time and the new server of a hand-over at each step.
 *
 * `--withhold` keeps the first packet of a type back (3 GGTT, 4 MMIO, 5 GuC); `--wrong-ggtt` loads
 * other PTEs than the VF's own. Both must fail.
 *
 * Needs the guest rig and `npm run build`. Exit code 0 when no job was bad, xe recovered from each
 * move (or noticed nothing), and its log has nothing worse.
 */
import { writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { logLineText } from '../dist/app/guest-log.js';
import { kills } from './move-kills.mjs';
import { moveOnAndOn, situations } from './move-situations.mjs';
import { MovingGuest } from './moving-guest.mjs';

const { values: flags } = parseArgs({
  options: {
    platform: { type: 'string', default: 'ptl' },
    count: { type: 'string', default: '30' },
    binds: { type: 'string', default: '20' },
    every: { type: 'string', default: '50' },
    transparent: { type: 'boolean', default: false },
    takeover: { type: 'boolean', default: false },
    situations: { type: 'boolean', default: false },
    kill: { type: 'boolean', default: false },
    with: { type: 'string', default: '' },
    withhold: { type: 'string' },
    'wrong-ggtt': { type: 'boolean', default: false },
    smp: { type: 'string', default: '2' },
    log: { type: 'string' },
    'drm-debug': { type: 'string' },
    json: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});
const count = Number(flags.count);
const everyMs = Number(flags.every);
/** The guest's driver is not to learn of the moves. */
const unnoticed = flags.transparent || flags.takeover;
const PARTS = ['holdMs', 'stopMs', 'copyMs', 'loadMs', 'swapMs', 'runMs', 'bytes', 'totalMs'];

const say = (line) => (flags.json ? process.stderr : process.stdout).write(`${line}\n`);

const guest = await MovingGuest.start({
  platform: flags.platform,
  say,
  smp: Number(flags.smp),
  drmDebug: flags['drm-debug'],
});
try {
  const rows = [];
  if (flags.situations)
    rows.push(...(await situations(guest, { everyMs, binds: Number(flags.binds), say })));
  else await guest.probe();
  await guest.startLoop(flags.with);
  await guest.session.mark('moves');
  const moves = [];
  for (let n = 0; n < count; n++) {
    const at = performance.now();
    moves.push(await (flags.takeover ? guest.takeOver() : guest.rehomeSoon(request())));
    await sleep(Math.max(0, everyMs - (performance.now() - at)));
  }
  const load = loadavg()[0];
  say(`moved ${moves.length} times`);
  if (flags.situations) rows.push(...(await moveOnAndOn(guest, say)));
  if (flags.kill) rows.push(...(await kills(guest, say)));
  await sleep(3000);
  await guest.recovered();
  const jobs = await guest.endLoop();
  const judged = await guest.judge('moves');
  const result = {
    platform: flags.platform,
    moves: moves.length,
    situations: rows,
    jobs: jobs.jobs,
    bad: jobs.bad,
    companions: jobs.output.filter((line) => line.startsWith('#')),
    recoveries: judged.recoveries,
    noticed: judged.noticed,
    unexpected: judged.unexpected,
    load,
    hold: figures(moves),
  };
  const isRecovered = unnoticed ? judged.noticed === 0 : judged.recoveries > 0;
  const isUnnoticed = flags.situations || isRecovered;
  const ok = jobs.bad === 0 && jobs.jobs > 0 && isUnnoticed && judged.unexpected.length === 0;
  if (flags.verbose || !ok) for (const line of judged.lines.slice(-40)) say(logLineText(line));
  for (const { situation, moved, refused } of rows)
    say(`${situation.padEnd(60)} moved ${pad(moved)}   refused with EBUSY ${pad(refused)}`);
  if (flags.json) process.stdout.write(`${JSON.stringify({ schema: 1, ok, ...result })}\n`);
  else say(JSON.stringify({ ok, ...result }, null, 1));
  process.exitCode = ok ? 0 : 1;
} finally {
  if (flags.log !== undefined)
    await guest.log().then(
      (text) => writeFile(flags.log, text),
      () => {},
    );
  await guest.close();
}

/** What a move is asked to be. */
function request() {
  return {
    transparent: flags.transparent,
    ...(flags.withhold === undefined ? {} : { withhold: Number(flags.withhold) }),
    ...(flags['wrong-ggtt'] ? { wrongGgtt: true } : {}),
  };
}

function pad(value) {
  return String(value).padStart(5);
}

/** Median and worst of each part. */
function figures(moves) {
  const told = {};
  for (const key of PARTS) {
    const values = moves
      .map((move) => move[key])
      .filter((value) => value !== undefined)
      .sort((a, b) => a - b);
    if (values.length === 0) continue;
    const round = (value) => Math.round((value ?? 0) * 100) / 100;
    told[key] = { median: round(values[values.length >> 1]), worst: round(values.at(-1)) };
  }
  return told;
}
