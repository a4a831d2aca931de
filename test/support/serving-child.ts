/**
 * A process that serves what its argument asks for, each device at its own socket in one thread,
 * until SIGTERM. It says "ready" when it listens and writes errors that are not a client's fault.
 */
import { join } from 'node:path';
import { inspect } from 'node:util';
import { EmulatedHost } from '../../src/app/emulated-host.ts';
import type { VfioDevice } from '../../src/vfio/vfio-device.ts';
import { VfioUserServer } from '../../src/vfio-user/server.ts';
import { ServerLoop } from '../../src/vfio-user/server-loop.ts';
import { CaseDevice } from './case-device.ts';
import { dieWithParent } from './libc.ts';
import type { ServingOptions } from './serving.ts';

const options: ServingOptions & { readonly directory: string } = JSON.parse(
  process.argv[2] ?? '{}',
);

async function makeDevices(): Promise<readonly VfioDevice[]> {
  if (options.device === 'case')
    return (options.devices ?? [{}]).map(
      (one, index) => new CaseDevice({ ...one, path: join(options.directory, `${index}`) }),
    );
  const discrete = options.device === 'bmg';
  const host = await EmulatedHost.create({
    platform: options.device,
    vfs: 1,
    ...(discrete ? { vramSize: 4 * 2 ** 20 } : {}),
  });
  return [await host.open(1)];
}

dieWithParent();
const loop = new ServerLoop();
const devices = await makeDevices();
for (const [index, device] of devices.entries()) {
  const socketPath = join(options.directory, `${index}.sock`);
  const server = new VfioUserServer({ device, loop, socketPath });
  server.events.on((event) => {
    if (event.type === 'error') process.stderr.write(`${event.what}: ${inspect(event.error)}\n`);
  });
}
process.once('SIGTERM', () => void loop.stop());
process.stdout.write('ready\n');
await loop.run();
for (const device of devices) await device.close();
