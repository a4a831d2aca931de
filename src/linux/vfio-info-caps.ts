/** The chain of capabilities behind some of the kernel's answers. Source: include/uapi/linux/vfio.h. */
import { getStruct } from './vfio-struct.ts';
import { VFIO_STRUCT } from './vfio-uapi.ts';

const { info_cap_header } = VFIO_STRUCT;

/**
 * Where the data of capability `id` begins, behind its header.
 *
 * @param first offset of the first capability from the beginning of `view`; 0 for none
 * @returns undefined when there is no such capability
 */
export function findCapability(view: DataView, first: number, id: number): number | undefined {
  let at = first;
  while (at !== 0 && at + info_cap_header.size <= view.byteLength) {
    const header = getStruct(view, at, info_cap_header);
    if (header.id === id) return at + info_cap_header.size;
    // A chain only leads on: one that leads back would never end.
    if (header.next <= at) return undefined;
    at = header.next;
  }
  return undefined;
}
