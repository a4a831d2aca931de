/**
 * HXG, the message format of all GuC communication: a header dword, then payload dwords.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_messages_abi.h, abi/guc_errors_abi.h.
 */

/** Who began: bit 31. */
export const HXG_ORIGIN = { HOST: 0, GUC: 1 } as const;

/** Kind of message: bits 30:28. */
export const HXG_TYPE = {
  REQUEST: 0,
  EVENT: 1,
  FAST_REQUEST: 2,
  NO_RESPONSE_BUSY: 3,
  NO_RESPONSE_RETRY: 5,
  RESPONSE_FAILURE: 6,
  RESPONSE_SUCCESS: 7,
} as const;

/** Layout of the header, for documents and tests: [high bit, low bit]. */
export const HXG_HEADER_LAYOUT = {
  ORIGIN: [31, 31],
  TYPE: [30, 28],
  /** Of a request or an event. */
  DATA0: [27, 16],
  ACTION: [15, 0],
  /** Of a success: the value. */
  AUX: [27, 0],
  /** Of a failure. */
  HINT: [27, 16],
  ERROR: [15, 0],
} as const;

/** True when the GuC is the origin of a message. */
export function hxgFromGuc(header: number): boolean {
  return header >>> 31 === HXG_ORIGIN.GUC;
}

/** The type of a message. */
export function hxgType(header: number): number {
  return (header >>> 28) & 0x7;
}

/** The action of a request or event. */
export function hxgAction(header: number): number {
  return header & 0xffff;
}

/** DATA0 of a request or event, 12 bits. */
export function hxgData0(header: number): number {
  return (header >>> 16) & 0xfff;
}

/** DATA0 of a success, 28 bits. */
export function hxgValue(header: number): number {
  return header & 0x0fff_ffff;
}

/** Header of a host's request. */
export function hxgRequest(action: number, data0 = 0): number {
  return ((HXG_TYPE.REQUEST << 28) | (data0 << 16) | action) >>> 0;
}

/** Header of an event of `origin`. */
export function hxgEvent(action: number, origin: number = HXG_ORIGIN.GUC): number {
  return ((origin << 31) | (HXG_TYPE.EVENT << 28) | action) >>> 0;
}

/** Header of the GuC's success with a 28-bit value. */
export function hxgSuccess(value = 0): number {
  return ((HXG_ORIGIN.GUC << 31) | (HXG_TYPE.RESPONSE_SUCCESS << 28) | value) >>> 0;
}

/** Header of the GuC's failure. */
export function hxgFailure(error: number, hint = 0): number {
  return ((HXG_ORIGIN.GUC << 31) | (HXG_TYPE.RESPONSE_FAILURE << 28) | (hint << 16) | error) >>> 0;
}

/** Error codes of a failure, as far as they are used here (`enum xe_guc_response`). */
export const GUC_RESPONSE = {
  ERROR_PROTOCOL: 0x04,
  INVALID_STATE: 0x0a,
  UNSUPPORTED_VERSION: 0x0b,
  INVALID_VFID: 0x0c,
  UNPROVISIONED_VF: 0x0d,
  NOT_SUPPORTED: 0x20,
  UNKNOWN_ACTION: 0x30,
  NO_PERMISSION: 0x40,
  CANNOT_COMPLETE_ACTION: 0x41,
  INVALID_KLV_DATA: 0x50,
  INVALID_PARAMS: 0x60,
  INVALID_CONTEXT_INDEX: 0x61,
  INVALID_DOORBELL_ID: 0x63,
  INVALID_ENGINE_ID: 0x64,
  INVALID_BUFFER_RANGE: 0x70,
  INVALID_GGTT_ADDRESS: 0x80,
  CONTEXT_NOT_REGISTERED: 0x100,
  CONTEXT_ALREADY_REGISTERED: 0x101,
  INVALID_SIZE: 0x102,
  MALFORMED_KLV: 0x103,
  INVALID_KLV_KEY: 0x105,
  DATA_TOO_LARGE: 0x106,
  VF_MIGRATED: 0x107,
  CTB_INVALID: 0x303,
  CTB_NOT_REGISTERED: 0x304,
  GENERIC_FAIL: 0xf000,
} as const;

const responseNames = new Map<number, string>(
  Object.entries(GUC_RESPONSE).map(([name, code]) => [code, name]),
);

/** The name of an error code, `error 0xN` when it has none here. */
export function gucResponseName(code: number): string {
  return responseNames.get(code) ?? `error 0x${code.toString(16)}`;
}
