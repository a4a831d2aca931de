import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { QmpClient } from '../../src/app/qmp.ts';
import { VmMigration } from '../../src/app/vm-migration.ts';
import { makeDirectory, removeDirectory } from '../e2e/vf-under-test.ts';
import { type QmpAnswers, QmpServer } from '../support/qmp-server.ts';

const directory = makeDirectory();
const closers: (() => void | Promise<void>)[] = [];
let count = 0;

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => removeDirectory(directory));

async function setUp(answers: QmpAnswers) {
  const server = await QmpServer.listen(join(directory, `${count++}.qmp`), answers);
  closers.push(() => server.close());
  const client = await QmpClient.connect(server.path);
  closers.push(() => client.close());
  return { server, client };
}

describe('a QMP client', () => {
  test('leaves the negotiation, and tells answers, refusals and what comes in pieces apart', async () => {
    const { server, client } = await setUp({
      'query-status': () => ({ status: 'running' }),
      cont: () => new Error('not now'),
    });
    const told = client.execute('query-status');
    await expect(client.execute('cont')).rejects.toMatchObject({
      code: 'EIO',
      message: 'QEMU refuses cont: not now',
    });
    expect(await told).toEqual({ status: 'running' });
    const event = new Promise((resolve) =>
      client.events.on(({ name, data }) => resolve([name, data])),
    );
    server.sendText('{"event":"STOP",');
    server.sendText('"data":{"a":1}}\n');
    expect(await event).toEqual(['STOP', { a: 1 }]);
    expect(server.commands).toEqual(['qmp_capabilities', 'query-status', 'cont']);
  });

  test('a QEMU that goes fails what waits and what comes later', async () => {
    const { server, client } = await setUp({});
    const waiting = expect(client.execute('query-status')).rejects.toMatchObject({
      code: 'ENODEV',
    });
    server.hangUp();
    await waiting;
    await client.ended;
    await expect(client.execute('cont')).rejects.toMatchObject({ code: 'ENODEV' });
  });

  test('a socket that nobody listens on, and one whose client is another', async () => {
    const none = join(directory, 'none.qmp');
    await expect(QmpClient.connect(none)).rejects.toMatchObject({ code: 'ENOENT' });
    const silent = await QmpServer.listen(join(directory, 'silent.qmp'), {});
    closers.push(() => silent.close());
    silent.send = () => {};
    await expect(QmpClient.connect(`unix:${silent.path}`, 50)).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      hint: expect.stringContaining('one client at a time'),
    });
  });
});

describe('a migration of QEMU', () => {
  const status = (name: string) => ({ event: 'MIGRATION', data: { status: name } });

  test('is waited for by its events, with QEMU’s words when it fails', async () => {
    const { server, client } = await setUp({
      'query-migrate': () => ({ status: 'failed', 'error-desc': 'no route to host' }),
    });
    const migration = new VmMigration(client, 'source');
    const paused = migration.until('pre-switchover');
    server.send(status('active'));
    server.send({ event: 'STOP' });
    server.send(status('pre-switchover'));
    expect(await paused).toBeGreaterThan(0);
    expect(migration.at('STOP')).toBeLessThanOrEqual(await paused);
    expect(migration.completedAt).toBeUndefined();
    server.send(status('failed'));
    await expect(migration.until('completed')).rejects.toThrow(
      'the migration of the source QEMU failed: no route to host',
    );
    migration.forget();
    const called = migration.until('completed');
    server.send(status('cancelled'));
    await expect(called).rejects.toMatchObject({ code: 'ECANCELED' });
  });

  test('ends to be waited for when it is called off or QEMU is gone', async () => {
    const { server, client } = await setUp({});
    const migration = new VmMigration(client, 'target');
    const abort = new AbortController();
    const waiting = migration.until('completed', abort.signal);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' });
    const other = migration.event('RESUME');
    server.hangUp();
    await expect(other).rejects.toMatchObject({ code: 'ENODEV' });
  });

  test('lets the guest go on only where it ran, and only when QEMU is through', async () => {
    const states = ['finish-migrate', 'postmigrate', 'postmigrate'];
    const { server, client } = await setUp({
      'query-migrate': () => ({ status: 'completed' }),
      'query-status': () => ({ status: states.shift() ?? 'postmigrate' }),
      cont: () => ({}),
    });
    const migration = new VmMigration(client, 'source');
    await migration.callOff(true);
    expect(server.commands.at(-1)).toBe('cont');
    await migration.callOff(false);
    expect(server.commands.filter((name) => name === 'cont')).toHaveLength(1);
  });
});
