/**
 * Memory-based interrupts: a page in which units set bytes before the MSI is sent.
 *
 * Source: drivers/gpu/drm/xe/xe_memirq.c, regs/xe_irq_regs.h, regs/xe_guc_regs.h.
 */

/** What a unit writes into a status and a source byte. */
export const MEMIRQ_PENDING = 0xff;
/** Bytes of a unit's status vector: one a bit of its 16-bit interrupt vector. */
export const MEMIRQ_STATUS_SIZE = 16;
/** Offset of the source page in the interrupt page (XE_MEMIRQ_SOURCE_OFFSET). */
export const MEMIRQ_SOURCE_OFFSET = 0x400;

/** Place of each unit's byte in the source page: its bit in the GT_INTR_DW registers. */
export const MEMIRQ_SOURCE = { GUC: 25, MEDIA_GUC: 24, RCS0: 0, BCS0: 15, BCS8: 23 } as const;

/** Bits of a GuC's interrupt vector. */
export const GUC_INTR = {
  /** There is something in the G2H buffer. */
  GUC2HOST: 15,
  /** The VF was migrated and must recover. */
  SW_INT_0: 0,
} as const;
