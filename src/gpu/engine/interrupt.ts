/**
 * Interrupts of an engine, through memory.
 *
 * Source: drivers/gpu/drm/xe/xe_memirq.c, regs/xe_irq_regs.h.
 */
import { MEMIRQ_PENDING } from '../../xe/memirq.ts';
import type { CommandStreamer } from './command-streamer.ts';

/** Bits of an engine's interrupt vector (GT_MI_USER_INTERRUPT and others). */
export const ENGINE_INTERRUPT = { MI_USER: 0, FLUSH_COMPLETE: 4 } as const;

/** Bytes of a unit's vector in the status page. */
const VECTOR_SIZE = 16;

/** Sets the bytes of an interrupt where the context's image says, and sends the MSI. */
export function raiseEngineInterrupt(streamer: CommandStreamer, bit: number): void {
  const { ggtt, image, engine, host } = streamer;
  const { intMaskAddress, intStatusAddress, intSourceAddress } = image;
  if (intStatusAddress === 0 || intSourceAddress === 0) return;
  const enabled = intMaskAddress === 0 ? 0 : (ggtt.readU32(intMaskAddress) ?? 0);
  if ((enabled & (1 << bit)) === 0) return;
  const { memirqOffset } = engine;
  ggtt.writeU8(intStatusAddress + memirqOffset * VECTOR_SIZE + bit, MEMIRQ_PENDING);
  ggtt.writeU8(intSourceAddress + memirqOffset, MEMIRQ_PENDING);
  host.raiseMsi();
}
