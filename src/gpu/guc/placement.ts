/** On which engines a context can be put. Source: xe_exec_queue.c:calc_validate_logical_mask. */
import type { Engine } from '../../xe/engines.ts';
import { GUC_CLASS } from '../../xe/guc/vf-actions.ts';
import type { EngineSlot } from './gang.ts';
import type { GucContext } from './vf-state.ts';

type Wanted = Pick<GucContext, 'engineClass' | 'submitMask' | 'lrcs'>;

/** True when an engine can take the first LRC of a context. */
export function servesContext(engine: Engine, { engineClass, submitMask }: Wanted): boolean {
  const wanted = engineClass === GUC_CLASS.PAGING ? GUC_CLASS.BLITTER : engineClass;
  return engine.engineClass === wanted && ((submitMask >>> engine.logicalInstance) & 1) === 1;
}

/**
 * The engines that can take a context, the first LRC's first: the mask of a parallel context names
 * where that one may go, and the others follow on the next logical instances.
 */
export function* gangPlaces(
  slots: readonly EngineSlot[],
  context: Wanted,
): Generator<readonly EngineSlot[], void> {
  const width = context.lrcs.length;
  for (const lead of slots) {
    if (!servesContext(lead.engine, context)) continue;
    if (width === 1) {
      yield [lead];
      continue;
    }
    const { engineClass, logicalInstance } = lead.engine;
    const place: EngineSlot[] = [];
    for (let n = 0; n < width; n++) {
      const slot = slots.find(
        ({ engine }) =>
          engine.engineClass === engineClass && engine.logicalInstance === logicalInstance + n,
      );
      if (slot !== undefined) place.push(slot);
    }
    if (place.length === width) yield place;
  }
}

/** The first place of a context where every engine is free. */
export function freeGangSlots(
  slots: readonly EngineSlot[],
  context: Wanted,
): readonly EngineSlot[] | undefined {
  for (const place of gangPlaces(slots, context))
    if (place.every(({ member }) => member === undefined)) return place;
  return undefined;
}
