/**
 * The fixed part of every message as data: what the codecs are held to, and what documentation and
 * tests print. Offsets are from the end of the header; all integers are little endian.
 *
 * Source: QEMU docs/interop/vfio-user.rst, include/uapi/linux/vfio.h.
 */

/** One field: its offset and its size in bytes. */
export type Field = readonly [offset: number, size: 2 | 4 | 8];

/** A structure: its size and its fields by name. */
export interface Layout {
  readonly size: number;
  readonly fields: Readonly<Record<string, Field>>;
}

/** Every structure that crosses the socket, by the name of its message or part. */
export const LAYOUTS = {
  header: {
    size: 16,
    fields: { id: [0, 2], command: [2, 2], size: [4, 4], flags: [8, 4], error: [12, 4] },
  },
  version: { size: 4, fields: { major: [0, 2], minor: [2, 2] } },
  dmaMap: {
    size: 32,
    fields: { argsz: [0, 4], flags: [4, 4], offset: [8, 8], address: [16, 8], size: [24, 8] },
  },
  dmaUnmap: {
    size: 24,
    fields: { argsz: [0, 4], flags: [4, 4], address: [8, 8], size: [16, 8] },
  },
  deviceInfo: {
    size: 16,
    fields: { argsz: [0, 4], flags: [4, 4], numRegions: [8, 4], numIrqs: [12, 4] },
  },
  regionInfo: {
    size: 32,
    fields: {
      argsz: [0, 4],
      flags: [4, 4],
      index: [8, 4],
      capOffset: [12, 4],
      size: [16, 8],
      offset: [24, 8],
    },
  },
  capHeader: { size: 8, fields: { id: [0, 2], version: [2, 2], next: [4, 4] } },
  sparseMmap: { size: 8, fields: { nrAreas: [0, 4], reserved: [4, 4] } },
  sparseArea: { size: 16, fields: { offset: [0, 8], size: [8, 8] } },
  regionIoFds: {
    size: 16,
    fields: { argsz: [0, 4], flags: [4, 4], index: [8, 4], count: [12, 4] },
  },
  irqInfo: {
    size: 16,
    fields: { argsz: [0, 4], flags: [4, 4], index: [8, 4], count: [12, 4] },
  },
  irqSet: {
    size: 20,
    fields: { argsz: [0, 4], flags: [4, 4], index: [8, 4], start: [12, 4], count: [16, 4] },
  },
  regionAccess: { size: 16, fields: { offset: [0, 8], region: [8, 4], count: [12, 4] } },
  dmaAccess: { size: 16, fields: { address: [0, 8], count: [8, 8] } },
  writeMulti: { size: 8, fields: { wrCnt: [0, 8] } },
  singleWrite: {
    size: 24,
    fields: { offset: [0, 8], region: [8, 4], count: [12, 4], data: [16, 8] },
  },
  feature: { size: 8, fields: { argsz: [0, 4], flags: [4, 4] } },
  featureMigration: { size: 8, fields: { flags: [0, 8] } },
  featureDeviceState: { size: 8, fields: { deviceState: [0, 4], dataFd: [4, 4] } },
  featureDataSize: { size: 8, fields: { stopCopyLength: [0, 8] } },
  featureLogControl: {
    size: 16,
    fields: { pageSize: [0, 8], numRanges: [8, 4], reserved: [12, 4] },
  },
  featureLogRange: { size: 16, fields: { iova: [0, 8], length: [8, 8] } },
  featureLogReport: { size: 24, fields: { iova: [0, 8], length: [8, 8], pageSize: [16, 8] } },
  precopyInfo: {
    size: 24,
    fields: { argsz: [0, 4], flags: [4, 4], initialBytes: [8, 8], dirtyBytes: [16, 8] },
  },
  /** What may follow {@link LAYOUTS.precopyInfo}; 2^53-1 when it is not known. */
  precopyStop: { size: 16, fields: { stopUs: [0, 8], staleUs: [8, 8] } },
  migData: { size: 8, fields: { argsz: [0, 4], size: [4, 4] } },
} as const satisfies Readonly<Record<string, Layout>>;

/** The name of a structure. */
export type LayoutName = keyof typeof LAYOUTS;
/** The fields of structure `Name`. */
export type Fields<Name extends LayoutName> = {
  readonly [Key in keyof (typeof LAYOUTS)[Name]['fields']]: number;
};
