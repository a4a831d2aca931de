/**
 * The engines of Xe GTs by their names, as data.
 *
 * Source: drivers/gpu/drm/xe/xe_hw_engine.c (engine_infos), regs/xe_engine_regs.h,
 * regs/xe_irq_regs.h (INTR_*), abi/guc_scheduler_abi.h.
 */
import { GUC_CLASS } from './guc/vf-actions.ts';

/** One engine as hardware has it. */
export interface EngineSpec {
  /** As xe_hw_engine.c names it: rcs0, bcs8 ... */
  readonly name: string;
  /** One of GUC_CLASS. */
  readonly engineClass: number;
  /** Number among the engines of its class in hardware. */
  readonly instance: number;
  /** First byte of its registers in BAR 0. */
  readonly mmioBase: number;
  /** Byte offset of its vector in the interrupt source page (`irq_offset`). */
  readonly memirqOffset: number;
}

/** An engine of a GT that is not fused off. */
export interface Engine extends EngineSpec {
  /** Number among the engines of its class that are there, as the driver's masks count. */
  readonly logicalInstance: number;
}

function family(
  prefix: string,
  engineClass: number,
  mmioBases: readonly number[],
  memirqOffset: (instance: number) => number,
): EngineSpec[] {
  return mmioBases.map((mmioBase, instance) => ({
    name: `${prefix}${instance}`,
    engineClass,
    instance,
    mmioBase,
    memirqOffset: memirqOffset(instance),
  }));
}

/** Every engine that a GT can have. */
export const ENGINES: readonly EngineSpec[] = [
  ...family('rcs', GUC_CLASS.RENDER, [0x2000], () => 0),
  ...family(
    'bcs',
    GUC_CLASS.BLITTER,
    [
      0x2_2000, 0x3e_0000, 0x3e_2000, 0x3e_4000, 0x3e_6000, 0x3e_8000, 0x3e_a000, 0x3e_c000,
      0x3e_e000,
    ],
    (instance) => (instance === 8 ? 23 : 15 - instance),
  ),
  ...family(
    'vcs',
    GUC_CLASS.VIDEO,
    [0x1c_0000, 0x1c_4000, 0x1d_0000, 0x1d_4000, 0x1e_0000, 0x1e_4000, 0x1f_0000, 0x1f_4000],
    (instance) => 32 + instance,
  ),
  ...family(
    'vecs',
    GUC_CLASS.VIDEOENHANCE,
    [0x1c_8000, 0x1d_8000, 0x1e_8000, 0x1f_8000],
    (instance) => 63 - instance,
  ),
  ...family(
    'ccs',
    GUC_CLASS.COMPUTE,
    [0x1_a000, 0x1_c000, 0x1_e000, 0x2_6000],
    (instance) => 4 + instance,
  ),
];

/**
 * The engines of a GT, in the order of `names`.
 *
 * @param names such as `['rcs0', 'bcs0', 'bcs8']`, each class by ascending instance
 * @throws {RangeError} for a name that no engine has
 */
export function enginesOf(names: readonly string[]): readonly Engine[] {
  const seen = new Map<number, number>();
  return names.map((name) => {
    const spec = ENGINES.find((candidate) => candidate.name === name);
    if (spec === undefined) throw new RangeError(`there is no engine ${name}`);
    const logicalInstance = seen.get(spec.engineClass) ?? 0;
    seen.set(spec.engineClass, logicalInstance + 1);
    return { ...spec, logicalInstance };
  });
}
