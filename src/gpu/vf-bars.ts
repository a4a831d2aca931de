/** What the BARs of an emulated VF are and which parts of them a VMM may map. */
import { roundUpPowerOfTwo } from '../base/int.ts';
import type { Bar } from '../vfio-pci/pci-function.ts';
import { GTTMMADR } from '../xe/platforms.ts';
import type { DeviceMemory } from './device-memory.ts';
import type { GgttWindow } from './ggtt.ts';
import type { VfVram } from './vram.ts';

type Area = Bar['areas'][number];

const ABSENT: Bar = { size: 0, is64Bit: false, prefetchable: false, areas: [] };

/** The BARs of one VF, which follow from what it owns. */
export class VfBars {
  #ggtt: GgttWindow | undefined;
  #vram: VfVram | undefined;
  #bars: readonly Bar[] | undefined;

  /** BARs 0 to 5, the same objects as long as the VF owns the same. */
  of(ggtt: GgttWindow | undefined, vram: VfVram | undefined): readonly Bar[] {
    if (this.#bars === undefined || this.#ggtt !== ggtt || this.#vram !== vram) {
      this.#ggtt = ggtt;
      this.#vram = vram;
      const lmem = vram === undefined ? ABSENT : lmemBar(vram);
      this.#bars = [gttmmadrBar(ggtt), ABSENT, lmem, ABSENT, ABSENT, ABSENT];
    }
    return this.#bars;
  }
}

function gttmmadrBar(window: GgttWindow | undefined): Bar {
  const areas = window === undefined ? [] : [ggttArea(window)];
  return { size: GTTMMADR.size, is64Bit: true, prefetchable: false, areas };
}

/** The GGTT half of BAR 0, all of it the VF's own memory: see ggtt.ts. */
function ggttArea(window: GgttWindow): Area {
  const { ggttStart, ggttEnd } = GTTMMADR;
  return memoryArea(() => window.memory, ggttStart, ggttEnd - ggttStart, ggttStart);
}

function lmemBar(vram: VfVram): Bar {
  const areas = [memoryArea(() => vram.memory, 0, vram.size, 0)];
  return { size: roundUpPowerOfTwo(vram.size), is64Bit: true, prefetchable: true, areas };
}

/** An area whose descriptor is made when somebody asks for it. */
function memoryArea(
  memory: () => DeviceMemory,
  offset: number,
  size: number,
  fdOffset: number,
): Area {
  return {
    offset,
    size,
    fdOffset,
    get fd() {
      return memory().fd;
    },
  };
}
