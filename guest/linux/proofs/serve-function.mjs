// In the guest: serves a function behind /dev/vfio over vfio-user, as a process of its own.
// Arguments: its PCI address and the path of the socket. Ends on SIGTERM.

import { VfioPciFunction } from '../../../dist/linux/vfio-pci-function.js';
import { foreignEventFds } from '../../../dist/sys/eventfd.js';
import { VfioPciCore } from '../../../dist/vfio-pci/vfio-pci-core.js';
import { VfioUserServer } from '../../../dist/vfio-user/server.js';
import { ServerLoop } from '../../../dist/vfio-user/server-loop.js';

const [bdf, socketPath] = process.argv.slice(2);
const pciFunction = VfioPciFunction.open(bdf);
pciFunction.events.on((event) => process.send({ type: event.type }));
const device = new VfioPciCore({ pciFunction, eventFds: foreignEventFds });
await device.enable();
const loop = new ServerLoop();
new VfioUserServer({ device, loop, socketPath });
process.once('SIGTERM', () => void loop.stop());
process.send({ type: 'ready' });
await loop.run();
await device.close();
pciFunction.close();
process.disconnect();
