/**
 * Memory-based interrupts: a page in which units set bytes before the MSI is sent.
 *
 * Source: drivers/gpu/drm/xe/xe_memirq.c, regs/xe_irq_regs.h, regs/xe_guc_regs.h.
 */

/** What a unit writes into a status and a source byte. */
export const MEMIRQ_PENDING = 0xff;
/** Offset of the source page in the interrupt page (XE_MEMIRQ_SOURCE_OFFSET). */
export const MEMIRQ_SOURCE_OFFSET = 0x400;

/** Bits of a GuC's interrupt vector. */
export const GUC_INTR = {
  /** There is something in the G2H buffer. */
  GUC2HOST: 15,
  /** The VF was migrated and must recover. */
  SW_INT_0: 0,
} as const;
