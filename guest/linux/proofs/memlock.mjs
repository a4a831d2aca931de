// In the guest: maps more memory than a user without privilege may lock; prints the fault as JSON.

import { VfioPciFunction } from '../../../dist/linux/vfio-pci-function.js';
import { Memory } from './memory.mjs';
import { faultOf } from './proof.mjs';

const pciFunction = VfioPciFunction.open(process.argv[2]);
const memory = new Memory(64 * 2 ** 20);
process.setuid(1000);
process.stdout.write(JSON.stringify(await faultOf(() => pciFunction.dmaMap(memory.at(2 ** 20)))));
pciFunction.close();
memory.close();
