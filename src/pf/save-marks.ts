/** What a GT can have to save of a VF, in the order in which it is saved. */
const SAVE_ORDER = ['GUC', 'GGTT', 'MMIO', 'VRAM'] as const;

/** A kind of state that is saved. */
export type SaveItem = (typeof SAVE_ORDER)[number];

/**
 * What is left to save of a VF on one GT.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_migration.c:xe_gt_sriov_pf_migration_save_init.
 */
export class SaveMarks {
  readonly #left = new Set<SaveItem>();
  /** Where in the VF's VRAM the next chunk begins, bytes. */
  vramOffset = 0;

  /** Begins anew with `items`. */
  reset(items: readonly SaveItem[]): void {
    this.#left.clear();
    for (const item of items) this.#left.add(item);
    this.vramOffset = 0;
  }

  /** The item whose turn it is, undefined when all are saved. */
  next(): SaveItem | undefined {
    return SAVE_ORDER.find((item) => this.#left.has(item));
  }

  /** Notes that all of `item` is saved. */
  complete(item: SaveItem): void {
    this.#left.delete(item);
  }
}
