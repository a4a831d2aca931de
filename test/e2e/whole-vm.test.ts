/** What `serve` and the tools do for the move of a whole VM, as far as that needs no QEMU. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { askVfServer } from '../../src/app/tool-request.ts';
import { connectVf } from '../../src/app/vf-connection.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { VfioUserClient } from '../../src/vfio-user/client.ts';
import { Cli, endAll, runCli, serve } from './cli.ts';
import { makeDirectory, removeDirectory } from './vf-under-test.ts';

const directory = makeDirectory();
let count = 0;
const freshSocket = () => join(directory, `${count++}.sock`);
const PTL = ['--platform', 'ptl'];

afterEach(endAll);
afterAll(() => removeDirectory(directory));

test('a VF whose state runs elsewhere is refused to everybody until it is reset', async () => {
  const [a, b] = [freshSocket(), freshSocket()];
  await serve(a, PTL);
  await serve(b, PTL);
  await expect(askVfServer(a, 'fence')).rejects.toMatchObject({ code: 'EINVAL' });
  expect((await runCli(['migrate', a, b])).code).toBe(0);
  await askVfServer(a, 'fence');
  const refusal = /cause: EPERM .*runs there\nhint: reset the VF before/;
  for (const args of [
    ['migrate', a, b],
    ['save', a, join(directory, 'vf.xevf')],
  ]) {
    const refused = await runCli(args);
    expect(refused.stderr).toMatch(refusal);
    expect(refused.code).toBe(4);
  }
  const vf = await connectVf(a);
  const running = vf.device.setMigrationState(MIG_STATE.RUNNING);
  await expect(running).rejects.toMatchObject({ code: 'EPERM' });
  await vf.close();
  // It can take its guest back: a target is reset first.
  expect((await runCli(['migrate', b, a])).code).toBe(0);
});

test('a server warns of a VMM that sends its guest away while nobody moves the VF', async () => {
  const socket = freshSocket();
  const server = new Cli(['serve', '--socket', socket, ...PTL]);
  await server.until('ready', () => server.stdout.includes(socket) || undefined);
  const vmm = await VfioUserClient.connect(socket);
  // The name of the thread in which QEMU sends; this process is the VMM here.
  const comm = '/proc/self/comm';
  const name = readFileSync(comm, 'utf8').trim();
  const warnings = () => server.stderr.split('\n').filter((line) => /moves the VF/.test(line));
  try {
    writeFileSync(comm, 'mig/src/main');
    await server.until('warning', () => warnings().length > 0);
    expect(warnings().at(0)).toContain(String(process.pid));
  } finally {
    writeFileSync(comm, name);
  }
  expect(warnings()).toHaveLength(1);
  await vmm.close();
});
