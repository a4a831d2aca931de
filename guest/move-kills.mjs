/**
 * Ends with SIGKILL who moves a VF: the tool that asks for a re-homing, at any time, and the new process of a
 * hand-over at each of its steps. The guest must go on each time, in the server that has it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { killedAt } from './killed-takeover.mjs';

/** Steps of a hand-over until which the running server keeps the guest; `HandoverStep`. */
const STEPS = ['offered', 'ready', 'streaming', 'loaded'];
/** Times after which the tool is ended, ms: before it connects, while the VF moves, after the answer. */
const DELAYS = [50, 150, 200, 250, 300, 350, 400, 500];
/** Jobs that the guest has to do after each. */
const JOBS = 50;

const tool = fileURLToPath(new URL('../bin/xe-vfio', import.meta.url));

/** @returns what was ended and how often, for a table */
export async function kills(guest, say) {
  const rows = [];
  let moved = 0;
  for (const delay of DELAYS) {
    say(`the tool is killed after ${delay} ms`);
    const child = spawn(process.execPath, [tool, 'rehome', guest.socket, '--to-vf', other(delay)]);
    const exited = once(child, 'exit');
    await sleep(delay);
    child.kill('SIGKILL');
    const [code] = await exited;
    if (code === 0) moved++;
    await guest.moreJobs(JOBS);
  }
  rows.push({ situation: `the tool killed ${DELAYS.length} times`, moved, refused: 0 });
  for (const step of STEPS) {
    say(`the new server is killed when ${step}`);
    const signal = await killedAt(guest.socket, step);
    if (signal !== 'SIGKILL') throw new Error(`the new server did not come to ${step}`);
    await guest.moreJobs(JOBS);
    rows.push({ situation: `the new server killed when ${step}`, moved: 0, refused: 0 });
  }
  return rows;
}

/** Targets by turns; VF 1 is served, and a move to the VF's own place is refused. */
function other(delay) {
  return String(2 + (DELAYS.indexOf(delay) % 2));
}
