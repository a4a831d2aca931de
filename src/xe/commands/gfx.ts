/**
 * Commands of the render, compute and media pipelines, as data: enough to name them and to know how
 * long they are. Nothing of these pipelines is emulated but PIPE_CONTROL and the post-sync
 * operation of COMPUTE_WALKER.
 *
 * Source: drivers/gpu/drm/xe/instructions/xe_gfxpipe_commands.h, xe_gfx_state_commands.h,
 * xe_mfx_commands.h, xe_instr_defs.h; Intel's PRM, "Command Reference: Instructions".
 */

/** Command types, bits 31:29 of a header. */
export const COMMAND_TYPE = { MI: 0, BLT: 2, PIPE: 3 } as const;

/** Bits 31:16 of the headers of render and compute commands, by name. */
export const GFX_COMMANDS = {
  STATE_PREFETCH: 0x6003,
  STATE_BYTE_STRIDE: 0x6005,
  STATE_BASE_ADDRESS: 0x6101,
  STATE_SIP: 0x6102,
  GPGPU_CSR_BASE_ADDRESS: 0x6104,
  STATE_COMPUTE_MODE: 0x6105,
  '3DSTATE_BTD': 0x6106,
  STATE_SYSTEM_MEM_FENCE_ADDRESS: 0x6109,
  STATE_CONTEXT_DATA_BASE_ADDRESS: 0x610b,
  '3DSTATE_VF_STATISTICS': 0x680b,
  PIPELINE_SELECT: 0x6904,
  CFE_STATE: 0x7200,
  COMPUTE_WALKER: 0x7208,
  EXECUTE_INDIRECT_DISPATCH: 0x720c,
  '3DSTATE_DRAWING_RECTANGLE_FAST': 0x7800,
  '3DSTATE_CUSTOM_SAMPLE_PATTERN': 0x7802,
  '3DSTATE_CLEAR_PARAMS': 0x7804,
  '3DSTATE_DEPTH_BUFFER': 0x7805,
  '3DSTATE_STENCIL_BUFFER': 0x7806,
  '3DSTATE_HIER_DEPTH_BUFFER': 0x7807,
  '3DSTATE_VERTEX_BUFFERS': 0x7808,
  '3DSTATE_VERTEX_ELEMENTS': 0x7809,
  '3DSTATE_INDEX_BUFFER': 0x780a,
  '3DSTATE_VF': 0x780c,
  '3DSTATE_MULTISAMPLE': 0x780d,
  '3DSTATE_CC_STATE_POINTERS': 0x780e,
  '3DSTATE_SCISSOR_STATE_POINTERS': 0x780f,
  '3DSTATE_VS': 0x7810,
  '3DSTATE_GS': 0x7811,
  '3DSTATE_CLIP': 0x7812,
  '3DSTATE_SF': 0x7813,
  '3DSTATE_WM': 0x7814,
  '3DSTATE_CONSTANT_VS': 0x7815,
  '3DSTATE_CONSTANT_GS': 0x7816,
  '3DSTATE_CONSTANT_PS': 0x7817,
  '3DSTATE_SAMPLE_MASK': 0x7818,
  '3DSTATE_CONSTANT_HS': 0x7819,
  '3DSTATE_CONSTANT_DS': 0x781a,
  '3DSTATE_HS': 0x781b,
  '3DSTATE_TE': 0x781c,
  '3DSTATE_DS': 0x781d,
  '3DSTATE_STREAMOUT': 0x781e,
  '3DSTATE_SBE': 0x781f,
  '3DSTATE_PS': 0x7820,
  '3DSTATE_VIEWPORT_STATE_POINTERS_SF_CLIP': 0x7821,
  '3DSTATE_CPS_POINTERS': 0x7822,
  '3DSTATE_VIEWPORT_STATE_POINTERS_CC': 0x7823,
  '3DSTATE_BLEND_STATE_POINTERS': 0x7824,
  '3DSTATE_BINDING_TABLE_POINTERS_VS': 0x7826,
  '3DSTATE_BINDING_TABLE_POINTERS_HS': 0x7827,
  '3DSTATE_BINDING_TABLE_POINTERS_DS': 0x7828,
  '3DSTATE_BINDING_TABLE_POINTERS_GS': 0x7829,
  '3DSTATE_BINDING_TABLE_POINTERS_PS': 0x782a,
  '3DSTATE_SAMPLER_STATE_POINTERS_VS': 0x782b,
  '3DSTATE_SAMPLER_STATE_POINTERS_HS': 0x782c,
  '3DSTATE_SAMPLER_STATE_POINTERS_DS': 0x782d,
  '3DSTATE_SAMPLER_STATE_POINTERS_GS': 0x782e,
  '3DSTATE_SAMPLER_STATE_POINTERS_PS': 0x782f,
  '3DSTATE_VF_INSTANCING': 0x7849,
  '3DSTATE_VF_SGVS': 0x784a,
  '3DSTATE_VF_TOPOLOGY': 0x784b,
  '3DSTATE_WM_CHROMAKEY': 0x784c,
  '3DSTATE_PS_BLEND': 0x784d,
  '3DSTATE_WM_DEPTH_STENCIL': 0x784e,
  '3DSTATE_PS_EXTRA': 0x784f,
  '3DSTATE_RASTER': 0x7850,
  '3DSTATE_SBE_SWIZ': 0x7851,
  '3DSTATE_WM_HZ_OP': 0x7852,
  '3DSTATE_VF_COMPONENT_PACKING': 0x7855,
  '3DSTATE_VF_SGVS_2': 0x7856,
  '3DSTATE_VFG': 0x7857,
  '3DSTATE_URB_ALLOC_VS': 0x7858,
  '3DSTATE_URB_ALLOC_HS': 0x7859,
  '3DSTATE_URB_ALLOC_DS': 0x785a,
  '3DSTATE_URB_ALLOC_GS': 0x785b,
  '3DSTATE_SO_BUFFER_INDEX_0': 0x7860,
  '3DSTATE_SO_BUFFER_INDEX_1': 0x7861,
  '3DSTATE_SO_BUFFER_INDEX_2': 0x7862,
  '3DSTATE_SO_BUFFER_INDEX_3': 0x7863,
  '3DSTATE_PRIMITIVE_REPLICATION': 0x786c,
  '3DSTATE_CONSTANT_ALL': 0x786d,
  '3DSTATE_TBIMR_TILE_PASS_INFO': 0x786e,
  '3DSTATE_AMFS': 0x786f,
  '3DSTATE_DEPTH_BOUNDS': 0x7871,
  '3DSTATE_AMFS_TEXTURE_POINTERS': 0x7872,
  '3DSTATE_CONSTANT_TS_POINTER': 0x7873,
  '3DSTATE_MESH_CONTROL': 0x7877,
  '3DSTATE_MESH_DISTRIB': 0x7878,
  '3DSTATE_TASK_REDISTRIB': 0x7879,
  '3DSTATE_MESH_SHADER': 0x787a,
  '3DSTATE_MESH_SHADER_DATA': 0x787b,
  '3DSTATE_TASK_CONTROL': 0x787c,
  '3DSTATE_TASK_SHADER': 0x787d,
  '3DSTATE_TASK_SHADER_DATA': 0x787e,
  '3DSTATE_URB_ALLOC_MESH': 0x787f,
  '3DSTATE_URB_ALLOC_TASK': 0x7880,
  '3DSTATE_CLIP_MESH': 0x7881,
  '3DSTATE_SBE_MESH': 0x7882,
  '3DSTATE_CPSIZE_CONTROL_BUFFER': 0x7883,
  '3DSTATE_COARSE_PIXEL': 0x7889,
  '3DSTATE_MESH_SHADER_DATA_EXT': 0x788a,
  '3DSTATE_TASK_SHADER_DATA_EXT': 0x788b,
  '3DSTATE_VIEWPORT_STATE_POINTERS_CC_2': 0x788d,
  '3DSTATE_CC_STATE_POINTERS_2': 0x788e,
  '3DSTATE_SCISSOR_STATE_POINTERS_2': 0x788f,
  '3DSTATE_BLEND_STATE_POINTERS_2': 0x78a0,
  '3DSTATE_VIEWPORT_STATE_POINTERS_SF_CLIP_2': 0x78a1,
  '3DSTATE_DRAWING_RECTANGLE': 0x7900,
  '3DSTATE_URB_MEMORY': 0x7901,
  '3DSTATE_CHROMA_KEY': 0x7904,
  '3DSTATE_POLY_STIPPLE_OFFSET': 0x7906,
  '3DSTATE_POLY_STIPPLE_PATTERN': 0x7907,
  '3DSTATE_LINE_STIPPLE': 0x7908,
  '3DSTATE_AA_LINE_PARAMETERS': 0x790a,
  '3DSTATE_MONOFILTER_SIZE': 0x7911,
  '3DSTATE_PUSH_CONSTANT_ALLOC_VS': 0x7912,
  '3DSTATE_PUSH_CONSTANT_ALLOC_HS': 0x7913,
  '3DSTATE_PUSH_CONSTANT_ALLOC_DS': 0x7914,
  '3DSTATE_PUSH_CONSTANT_ALLOC_GS': 0x7915,
  '3DSTATE_PUSH_CONSTANT_ALLOC_PS': 0x7916,
  '3DSTATE_SO_DECL_LIST': 0x7917,
  '3DSTATE_SO_BUFFER': 0x7918,
  '3DSTATE_BINDING_TABLE_POOL_ALLOC': 0x7919,
  '3DSTATE_SAMPLE_PATTERN': 0x791c,
  '3DSTATE_3D_MODE': 0x791e,
  '3DSTATE_SUBSLICE_HASH_TABLE': 0x791f,
  '3DSTATE_SLICE_TABLE_STATE_POINTERS': 0x7920,
  '3DSTATE_PTBR_TILE_PASS_INFO': 0x7922,
  '3DSTATE_SLICE_TABLE_STATE_POINTER_2': 0x79a0,
  PIPE_CONTROL: 0x7a00,
  '3DPRIMITIVE': 0x7b00,
  EXECUTE_INDIRECT_DRAW: 0x7b0c,
} as const satisfies Record<string, number>;

/**
 * Groups of render and compute commands, bits 31:24 of the header, that are skipped by their length
 * even when {@link GFX_COMMANDS} does not name them.
 */
export const GFX_GROUPS: readonly number[] = [0x60, 0x61, 0x68, 0x69, 0x72, 0x78, 0x79, 0x7b];

/** Name under which a command of {@link GFX_GROUPS} without a name of its own is counted. */
export const GFX_OTHER = 'GFXPIPE';

/** A group of media commands: bits 31:23 of their headers, and the name of their unit. */
export type MediaGroup = readonly [bits: number, name: string];

/** Groups of commands of video engines (VCS). */
export const VIDEO_GROUPS: readonly MediaGroup[] = [
  [0xd0, 'MFX_WAIT'],
  [0xe0, 'MFX'],
  [0xe1, 'VDENC'],
  [0xe2, 'MFX_AVC'],
  [0xe3, 'AVP'],
  [0xe4, 'MFX_VC1'],
  [0xe6, 'MFX_MPEG2'],
  [0xe7, 'HCP'],
  [0xe8, 'MFX_VP8'],
  [0xe9, 'HCP_SFC'],
  [0xea, 'SFC'],
  [0xeb, 'HUC'],
  [0xec, 'CRYPTO_KEY_EXCHANGE'],
  [0xee, 'MFX_JPEG'],
  [0xef, 'VD'],
];

/** Groups of commands of video enhancement engines (VECS). */
export const VIDEOENHANCE_GROUPS: readonly MediaGroup[] = [
  [0xd0, 'MFX_WAIT'],
  [0xe8, 'VEBOX'],
  [0xe9, 'VE_SFC'],
  [0xea, 'SFC'],
];

/** Bits 28:27 of a pipe command whose commands are one dword long. */
const PIPELINE_SINGLE_DW = 1;

/** How a command's length is known: a number of dwords, or 0 and header bits that hold it less two. */
export interface LengthRule {
  readonly fixed: number;
  readonly mask: number;
}

/** Length of the render or compute command with these bits 31:16. */
export function gfxLengthRule(bits: number): LengthRule {
  if (((bits >>> 11) & 3) === PIPELINE_SINGLE_DW) return { fixed: 1, mask: 0 };
  return { fixed: 0, mask: bits === GFX_COMMANDS['3DSTATE_SO_DECL_LIST'] ? 0x1ff : 0xff };
}

/** Length of the media command with these bits 31:16. */
export function mediaLengthRule(bits: number): LengthRule {
  const isSingle = ((bits >>> 11) & 3) === PIPELINE_SINGLE_DW;
  return isSingle ? { fixed: 1, mask: 0 } : { fixed: 0, mask: 0xfff };
}

/** Commands of other types: bits 31:26 of their headers, and the bits that hold their length. */
export const STATE_COMMANDS = {
  STATE_WRITE_INLINE: { bits: 0x20, mask: 0xffff },
  RESOURCE_BARRIER: { bits: 0x2b, mask: 0xff },
} as const;
