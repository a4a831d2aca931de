import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { GuestControl } from '../../src/app/guest-control.ts';
import { Fault } from '../../src/base/fault.ts';

let directory = '';
let control: GuestControl;
let guest: Socket;

/** The guest's end, in the place of a QEMU: answers as it is told. */
function connectGuest(onCommand: (id: string, command: string) => void): Promise<void> {
  guest = connect(join(directory, 'control.sock'));
  createInterface({ input: guest }).on('line', (line) => {
    const [id = '', text = ''] = line.split(' ');
    onCommand(id, Buffer.from(text, 'base64').toString());
  });
  return new Promise((resolve) => guest.once('connect', resolve));
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'xe-vfio-control-'));
  control = await GuestControl.listen(join(directory, 'control.sock'));
});

afterEach(() => {
  control.close();
  guest?.destroy();
  rmSync(directory, { recursive: true, force: true });
});

test('runs commands beside each other and keeps their lines apart', async () => {
  const commands: string[] = [];
  await connectGuest((id, command) => {
    commands.push(command);
    if (commands.length < 2) return;
    // Cut in the middle of a line, as a stream may be.
    guest.write(`2 out second's\n1 out a\n1 ou`);
    guest.write(`t b c\n2 end 3\n1 out \n${id === '2' ? '1' : '2'} end 0\n`);
  });
  guest.write('ready 4.25\n');
  expect(await control.ready).toBe(4250);
  const lines: string[] = [];
  const first = control.run('echo "ü"\n', { onLine: (line) => lines.push(line) });
  const second = control.run('false');
  expect(await first).toEqual({ status: 0, output: 'a\nb c\n' });
  expect(await second).toEqual({ status: 3, output: "second's" });
  expect(lines).toEqual(['a', 'b c', '']);
  expect(commands).toEqual(['echo "ü"\n', 'false']);
});

test('a command that takes too long is left alone', async () => {
  await connectGuest(() => {});
  guest.write('ready 1\n');
  await expect(control.run('sleep 9\nmore', { timeoutMs: 1 })).rejects.toMatchObject({
    code: 'ETIMEDOUT',
    message: '"sleep 9" took more than 0.001 s',
  });
});

test('a guest that is gone ends every wait, and later ones', async () => {
  const { ready } = control;
  await connectGuest(() => control.fail(new Fault('ENODEV', 'QEMU ended')));
  guest.write('ready 1\n');
  await ready;
  await expect(control.run('true')).rejects.toMatchObject({ code: 'ENODEV' });
  await expect(control.run('true')).rejects.toMatchObject({ message: 'QEMU ended' });
});

test('a guest that ends before it obeys', async () => {
  const waiting = control.ready;
  control.fail(new Fault('ENODEV', 'QEMU ended (exit code 1): no such device'));
  await expect(waiting).rejects.toMatchObject({ code: 'ENODEV' });
});

test('a guest that comes from another QEMU obeys once the first has gone', async () => {
  await connectGuest(() => {});
  guest.write('ready 1\n');
  await control.ready;
  const old = guest;
  const closed = new Promise((resolve) => old.once('close', resolve));
  await connectGuest((id) => guest.write(`${id} end 7\n`));
  old.destroy();
  await closed;
  // The other end hears of it a little later.
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await control.run('true')).toEqual({ status: 7, output: '' });
});
