/**
 * Names and numbers of the vfio-user protocol, version 0.1.
 *
 * Source: QEMU docs/interop/vfio-user.rst.
 */

/** Commands. */
export const VFIO_USER = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  DEVICE_GET_INFO: 4,
  DEVICE_GET_REGION_INFO: 5,
  DEVICE_GET_REGION_IO_FDS: 6,
  DEVICE_GET_IRQ_INFO: 7,
  DEVICE_SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_READ: 11,
  DMA_WRITE: 12,
  DEVICE_RESET: 13,
  REGION_WRITE_MULTI: 15,
  DEVICE_FEATURE: 16,
  MIG_DATA_READ: 17,
  MIG_DATA_WRITE: 18,
  /**
   * Our own, by the ioctl's number: VFIO_MIG_GET_PRECOPY_INFO on the data file, with its structure
   * as payload. The protocol has pre-copy states, but no such question.
   */
  MIG_GET_PRECOPY_INFO: 121,
} as const;

const NAMES = new Map<number, string>(
  Object.entries(VFIO_USER).map(([name, value]) => [value, `VFIO_USER_${name}`]),
);

/** The name of command number `command`, for people. */
export function commandName(command: number): string {
  return NAMES.get(command) ?? `command ${command}`;
}

/** Bytes of the header of every message. */
export const HEADER_SIZE = 16;

/** Fields of {@link HEADER_SIZE} `flags`. */
export const MESSAGE = {
  TYPE_MASK: 0xf,
  COMMAND: 0,
  REPLY: 1,
  NO_REPLY: 0x10,
  ERROR: 0x20,
} as const;

/** The protocol version that is spoken here. */
export const PROTOCOL_VERSION = { major: 0, minor: 1 } as const;

/** Values that hold for a peer that says nothing else. */
export const DEFAULT_LIMITS = {
  maxMsgFds: 1,
  maxDataXferSize: 1048576,
  maxDmaMaps: 65535,
  pgsizes: 4096,
} as const;

/** `DMA_UNMAP` flags that clients use though the specification has none (from VFIO). */
export const DMA_UNMAP_FLAG = { GET_DIRTY_BITMAP: 1, ALL: 2 } as const;
