/** The PPGTTs of one VF, by their root tables. */
import type { PhysicalMemory } from './physical-memory.ts';
import { Ppgtt } from './ppgtt.ts';

/** Spaces that are kept with what they remember; the oldest one goes. */
const SPACES_MAX = 64;

/** Every PPGTT that contexts of a VF used lately. */
export class PpgttSpaces {
  readonly #physical: PhysicalMemory;
  readonly #tablesInVram: boolean;
  readonly #spaces = new Map<number, Ppgtt>();

  /** @param tablesInVram true on a discrete device */
  constructor(physical: PhysicalMemory, tablesInVram: boolean) {
    this.#physical = physical;
    this.#tablesInVram = tablesInVram;
  }

  /** The space whose root table is at physical address `pdp0`. */
  space(pdp0: number): Ppgtt {
    const root = pdp0 - (pdp0 % 4096);
    let space = this.#spaces.get(root);
    if (space === undefined) {
      space = new Ppgtt(this.#physical, root, this.#tablesInVram);
    } else {
      this.#spaces.delete(root);
    }
    this.#spaces.set(root, space);
    if (this.#spaces.size > SPACES_MAX)
      for (const oldest of this.#spaces.keys()) {
        this.#spaces.delete(oldest);
        break;
      }
    return space;
  }

  /** Forgets all of them. Whoever still uses one finds that it remembers nothing. */
  clear(): void {
    this.#spaces.clear();
    this.#physical.invalidateTlbs();
  }
}
