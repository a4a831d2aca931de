/** A process that maps its descriptor 3 and writes there as it is told: see mapping-process.ts. */
import { Mapping } from '../../src/sys/mapping.ts';
import type { MappingOrder } from './mapping-process.ts';

const FD = 3;
let size = 0;
let mapping: Mapping | undefined;
/** Keeps addresses from being used again. */
const placeholders: Mapping[] = [];

function obey(order: MappingOrder): void {
  switch (order.op) {
    case 'map':
      size = order.size;
      mapping = Mapping.ofFd(FD, size);
      break;
    case 'write':
      mapping?.view(order.at, order.length).fill(order.value);
      break;
    case 'unmap':
      mapping?.close();
      mapping = undefined;
      break;
    case 'remap':
      mapping?.close();
      placeholders.push(Mapping.anonymous(size));
      mapping = Mapping.ofFd(FD, size);
      break;
    case 'forget':
      mapping?.discard(0, size);
      break;
  }
}

process.on('message', (order: MappingOrder) => {
  obey(order);
  process.send?.('done');
});
process.on('disconnect', () => process.exit());
