import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { endAll, lastDocument, runCli } from './cli.ts';
import { startReceiver } from './receiving.ts';
import { BMG, makeDirectory, removeDirectory, VfUnderTest } from './vf-under-test.ts';

const directory = makeDirectory();
let a: VfUnderTest;
let b: VfUnderTest;
let small: VfUnderTest;
/** Can be saved while it runs; `a` cannot, as in Linux. */
let live: VfUnderTest;

beforeAll(async () => {
  [a, b, small, live] = await Promise.all([
    VfUnderTest.start(join(directory, 'a.sock'), [...BMG, '--linux-flags']),
    VfUnderTest.start(join(directory, 'b.sock')),
    VfUnderTest.start(join(directory, 'small.sock'), ['--platform', 'bmg', '--vram', '4M']),
    VfUnderTest.start(join(directory, 'live.sock')),
  ]);
});

afterEach(endAll);

afterAll(async () => {
  await Promise.all([a, b, small, live].map((vf) => vf?.stop()));
  removeDirectory(directory);
});

async function prepare(text: string): Promise<void> {
  for (const vf of [a, b])
    if ((await vf.state()) !== 'RUNNING') await vf.setState(MIG_STATE.RUNNING);
  await a.write(text);
}

/** Certificates of one CA for both ends, and a stranger's. */
function makeCertificates(): Record<'own' | 'strange', string[]> {
  const file = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  const make = (ca: string, name: string) => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const x509 = ['-keyout', file(`${ca}.key`), '-out', file(`${ca}.pem`), '-subj', `/CN=${ca}`];
    openssl('req', '-x509', ...key, ...x509, '-days', '2');
    const request = ['-keyout', file(`${name}.key`), '-out', file(`${name}.csr`)];
    openssl('req', ...key, ...request, '-subj', `/CN=${name}`);
    writeFileSync(file('san'), 'subjectAltName=IP:127.0.0.1,DNS:host-b\n');
    const sign = ['-CA', file(`${ca}.pem`), '-CAkey', file(`${ca}.key`), '-CAcreateserial'];
    const names = ['-extfile', file('san'), '-days', '2', '-out', file(`${name}.pem`)];
    openssl('x509', '-req', '-in', file(`${name}.csr`), ...sign, ...names);
    const own = ['--tls-cert', file(`${name}.pem`), '--tls-key', file(`${name}.key`)];
    return [...own, '--tls-ca', file(`${ca}.pem`)];
  };
  return { own: make('ca', 'host'), strange: make('other-ca', 'stranger') };
}

describe('migrate --via', () => {
  test('moves a VF, and both ends print the same report', async () => {
    await prepare('over the network');
    const { receiver, address } = await startReceiver(b.socket);
    const via = ['--via', address, '--streams', '3', '--json'];
    const sent = await runCli(['migrate', a.socket, b.socket, ...via]);
    expect(sent).toMatchObject({ code: 0, stderr: '' });
    const received = await receiver.ended;
    expect(received).toMatchObject({ code: 0, stderr: '' });
    expect([await a.state(), await b.state()]).toEqual(['STOP', 'RUNNING']);
    expect(await b.digests()).toEqual(await a.digests());
    const { network, ...report } = lastDocument(sent);
    expect(lastDocument(received)).toEqual({ ...report, reported: true });
    // 8 MiB of VRAM with next to nothing in it: the zeros did not travel.
    const { wireBytes, zeroBytes } = network as Record<string, number>;
    expect(zeroBytes).toBeGreaterThan(8e6);
    expect(wireBytes).toBeLessThan(2e6);
    const phases = receiver.documents.filter(({ event }) => event === 'phase');
    expect(phases.map(({ phase }) => phase)).toEqual([
      'prepare',
      'stop',
      'copy',
      'load',
      'run',
      'done',
    ]);
  });

  test('moves VRAM while the VF still runs, and both ends print the same report', async () => {
    await prepare('while it runs');
    await live.write('while it runs');
    const { receiver, address } = await startReceiver(b.socket);
    const way = ['--via', address, '--json', '--max-downtime', '20000'];
    const forecast = ['--forecast', '--seconds', '0.3'];
    const told = await runCli(['check', live.socket, ...way, ...forecast]);
    expect(told).toMatchObject({ code: 0, stderr: '' });
    expect(lastDocument(told)).toMatchObject({ forecast: { method: 'pre-copy', fits: true } });
    expect(await live.state()).toBe('RUNNING');
    const sent = await runCli(['migrate', live.socket, ...way]);
    expect(sent).toMatchObject({ code: 0, stderr: '' });
    const received = await receiver.ended;
    expect(received).toMatchObject({ code: 0, stderr: '' });
    expect([await live.state(), await b.state()]).toEqual(['STOP', 'RUNNING']);
    expect(await b.digests()).toEqual(await live.digests());
    const { network: _, ...report } = lastDocument(sent);
    expect(lastDocument(received)).toEqual({ ...report, reported: true });
    const phases = (report['phases'] as { name: string }[]).map(({ name }) => name);
    expect(phases).toContain('precopy');
  });

  test('TLS: each end proves who it is', async (context) => {
    let certificates: Record<'own' | 'strange', string[]>;
    try {
      certificates = makeCertificates();
    } catch (error) {
      return context.skip(`openssl makes no certificates: ${(error as Error).message}`);
    }
    await prepare('with certificates');
    const { receiver, address } = await startReceiver(b.socket, certificates.own, 'tls');
    for (const wrong of [certificates.strange, []]) {
      const refused = await runCli(['migrate', a.socket, '--via', address, '--json', ...wrong]);
      expect(refused.code).toBe(1);
      expect(await a.state()).toBe('RUNNING');
    }
    const plain = address.replace('tls:', 'tcp:');
    expect((await runCli(['migrate', a.socket, '--via', plain])).code).not.toBe(0);
    const args = ['--via', address, '--json', ...certificates.own];
    const sent = await runCli(['migrate', a.socket, ...args, '--tls-hostname', 'host-b']);
    expect(sent, JSON.stringify(sent)).toMatchObject({ code: 0 });
    expect((await receiver.ended).code).toBe(0);
    expect(await b.digests()).toEqual(await a.digests());
  });

  test('nothing is touched when the two do not fit; both ends say so', async () => {
    await prepare('does not fit');
    const { receiver, address } = await startReceiver(small.socket);
    const sent = await runCli(['migrate', a.socket, '--via', address, '--json']);
    const received = await receiver.ended;
    expect([sent.code, received.code]).toEqual([6, 6]);
    const told = lastDocument(sent);
    expect(told).toMatchObject({ errno: 'EREMCHG', source: 'untouched', target: 'untouched' });
    expect(lastDocument(received)).toEqual(told);
    expect([await a.state(), await small.state()]).toEqual(['RUNNING', 'RUNNING']);
  });

  test('plain TCP stays on this machine unless it is told otherwise', async () => {
    const far = await runCli(['migrate', a.socket, '--via', 'tcp:192.0.2.1:4444', '--json']);
    expect(far.code).toBe(4);
    expect(lastDocument(far)).toMatchObject({ errno: 'EPERM' });
    const open = await runCli(['receive', b.socket, '--listen', 'tcp:0.0.0.0:0', '--json']);
    expect(open.code).toBe(4);
    expect((await runCli(['migrate', a.socket, '--via', 'tcp:127.0.0.1:1'])).code).toBe(3);
    expect((await runCli(['migrate', a.socket, b.socket, '--streams', '2'])).code).toBe(2);
  });
});

describe('check --via', () => {
  test('forecasts, refuses what would take too long, and uses the receiver not up', async () => {
    await prepare('forecast');
    const { receiver, address } = await startReceiver(b.socket);
    const way = ['--via', address, '--rate-limit', '80Mbit', '--json'];
    const forecast = ['--forecast', '--seconds', '0.3', '--max-downtime', '100'];
    const told = await runCli(['check', a.socket, ...way, ...forecast]);
    expect(told.code).toBe(5);
    const { forecast: numbers } = lastDocument(told) as { forecast: Record<string, number> };
    expect(numbers).toMatchObject({ method: 'stop-copy', fits: false });
    expect(numbers['bytesPerSecond']).toBeLessThan(11e6);
    expect(numbers['downtimeMs']).toBeGreaterThan(700);
    const refused = await runCli(['migrate', a.socket, ...way, '--max-downtime', '100']);
    expect(refused.code).toBe(7);
    expect(lastDocument(refused)).toMatchObject({ errno: 'ETIME', source: 'untouched' });
    expect(lastDocument(await receiver.ended)).toEqual(lastDocument(refused));
    expect(await a.state()).toBe('RUNNING');
  });
});
