/**
 * The hardware configuration table that firmware hands out: attributes as key, length in dwords,
 * value. It tells the physical layout of a platform's largest part, not what is fused off.
 *
 * The keys are public; what real firmware answers for these platforms is not, so the values are
 * this project's, consistent with what is known of the parts and with the emulated fuses.
 *
 * Source: drivers/gpu/drm/xe/xe_guc_hwconfig.c, xe_gt_mcr.c:dss_per_group; the keys are those of
 * `enum intel_hwconfig` in Mesa (src/intel/dev/intel_hwconfig_types.h).
 */
import { enginesOf } from './engines.ts';
import { GUC_CLASS } from './guc/vf-actions.ts';
import type { Platform, PlatformName } from './platforms.ts';

/** Keys of attributes. */
export const HWCONFIG = {
  MAX_SLICES_SUPPORTED: 1,
  MAX_DUAL_SUBSLICES_SUPPORTED: 2,
  MAX_NUM_EU_PER_DSS: 3,
  NUM_PIXEL_PIPES: 4,
  MAX_MEMORY_CHANNELS: 10,
  MEMORY_TYPE: 11,
  CACHE_TYPES: 12,
  NUM_THREADS_PER_EU: 15,
  MAX_RCS: 23,
  MAX_CCS: 24,
  MAX_VCS: 25,
  MAX_VECS: 26,
  MAX_COPY_CS: 27,
  GEOMETRY_PIPES_PER_SLICE: 63,
  L3_BANK_SIZE_IN_KB: 64,
  MAX_SUBSLICE: 70,
  MAX_EU_PER_SUBSLICE: 71,
  SLM_SIZE_PER_SS_IN_KB: 73,
} as const;

type Attribute = keyof typeof HWCONFIG;

const MEMORY_TYPE = { LPDDR5: 1, GDDR6: 4 } as const;
/** INTEL_HWCONFIG_CACHE_TYPE_L3 as a bit. */
const CACHE_TYPE_L3 = 1;

/** Shader arrays and memory of a platform. */
interface Layout {
  readonly slices: number;
  readonly subslices: number;
  readonly memoryChannels: number;
  readonly memoryType: number;
}

const LAYOUTS: Readonly<Record<PlatformName, Layout>> = {
  // 12 Xe cores in three slices.
  ptl: { slices: 3, subslices: 12, memoryChannels: 8, memoryType: MEMORY_TYPE.LPDDR5 },
  // 2 Xe cores in one slice, whose layout has room for four.
  wcl: { slices: 1, subslices: 4, memoryChannels: 4, memoryType: MEMORY_TYPE.LPDDR5 },
  // 20 Xe cores in five slices.
  bmg: { slices: 5, subslices: 20, memoryChannels: 6, memoryType: MEMORY_TYPE.GDDR6 },
};

const EU_PER_SUBSLICE = 8;
const THREADS_PER_EU = 8;

/** The attributes of a platform, one dword each. */
function attributes(platform: Platform): Readonly<Record<Attribute, number>> {
  const { slices, subslices, memoryChannels, memoryType } = LAYOUTS[platform.name];
  const engines = platform.gts.flatMap((gt) => enginesOf(gt.engines));
  const count = (engineClass: number) =>
    engines.filter((engine) => engine.engineClass === engineClass).length;
  return {
    MAX_SLICES_SUPPORTED: slices,
    MAX_DUAL_SUBSLICES_SUPPORTED: subslices,
    MAX_NUM_EU_PER_DSS: EU_PER_SUBSLICE,
    NUM_PIXEL_PIPES: slices * 2,
    MAX_MEMORY_CHANNELS: memoryChannels,
    MEMORY_TYPE: memoryType,
    CACHE_TYPES: CACHE_TYPE_L3,
    NUM_THREADS_PER_EU: THREADS_PER_EU,
    MAX_RCS: count(GUC_CLASS.RENDER),
    MAX_CCS: count(GUC_CLASS.COMPUTE),
    MAX_VCS: count(GUC_CLASS.VIDEO),
    MAX_VECS: count(GUC_CLASS.VIDEOENHANCE),
    MAX_COPY_CS: count(GUC_CLASS.BLITTER),
    GEOMETRY_PIPES_PER_SLICE: 1,
    L3_BANK_SIZE_IN_KB: 512,
    MAX_SUBSLICE: subslices,
    MAX_EU_PER_SUBSLICE: EU_PER_SUBSLICE,
    SLM_SIZE_PER_SS_IN_KB: 128,
  };
}

/** The table of a platform as firmware writes it into memory: dwords in little-endian order. */
export function hwconfigTable(platform: Platform): Uint8Array {
  const entries = Object.entries(attributes(platform)) as [Attribute, number][];
  const dwords = entries.flatMap(([name, value]) => [HWCONFIG[name], 1, value]);
  const bytes = new Uint8Array(dwords.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [n, dword] of dwords.entries()) view.setUint32(n * 4, dword, true);
  return bytes;
}
