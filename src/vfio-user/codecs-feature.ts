/**
 * Codecs of DEVICE_FEATURE's structures and of migration data.
 *
 * Source: QEMU docs/interop/vfio-user.rst, include/uapi/linux/vfio.h.
 */
import { readU64, writeU64 } from '../base/int.ts';
import { type Codecs, put32, u32 } from './codec.ts';
import { LAYOUTS, type LayoutName } from './layouts.ts';

/** The structures of DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE. */
export type FeatureLayoutName = Extract<LayoutName, `feature${string}` | 'migData'>;

/** A codec for each. */
export const FEATURE_CODECS: Codecs<FeatureLayoutName> = {
  feature: {
    size: LAYOUTS.feature.size,
    read: (view, at) => ({ argsz: u32(view, at), flags: u32(view, at + 4) }),
    write(view, at, { argsz, flags }) {
      put32(view, at, argsz);
      put32(view, at + 4, flags);
    },
  },
  featureMigration: {
    size: LAYOUTS.featureMigration.size,
    read: (view, at) => ({ flags: readU64(view, at) }),
    write: (view, at, { flags }) => writeU64(view, at, flags),
  },
  featureDeviceState: {
    size: LAYOUTS.featureDeviceState.size,
    read: (view, at) => ({ deviceState: u32(view, at), dataFd: u32(view, at + 4) }),
    write(view, at, { deviceState, dataFd }) {
      put32(view, at, deviceState);
      put32(view, at + 4, dataFd);
    },
  },
  featureDataSize: {
    size: LAYOUTS.featureDataSize.size,
    read: (view, at) => ({ stopCopyLength: readU64(view, at) }),
    write: (view, at, { stopCopyLength }) => writeU64(view, at, stopCopyLength),
  },
  featureLogControl: {
    size: LAYOUTS.featureLogControl.size,
    read: (view, at) => ({
      pageSize: readU64(view, at),
      numRanges: u32(view, at + 8),
      reserved: u32(view, at + 12),
    }),
    write(view, at, { pageSize, numRanges, reserved }) {
      writeU64(view, at, pageSize);
      put32(view, at + 8, numRanges);
      put32(view, at + 12, reserved);
    },
  },
  featureLogRange: {
    size: LAYOUTS.featureLogRange.size,
    read: (view, at) => ({ iova: readU64(view, at), length: readU64(view, at + 8) }),
    write(view, at, { iova, length }) {
      writeU64(view, at, iova);
      writeU64(view, at + 8, length);
    },
  },
  featureLogReport: {
    size: LAYOUTS.featureLogReport.size,
    read: (view, at) => ({
      iova: readU64(view, at),
      length: readU64(view, at + 8),
      pageSize: readU64(view, at + 16),
    }),
    write(view, at, { iova, length, pageSize }) {
      writeU64(view, at, iova);
      writeU64(view, at + 8, length);
      writeU64(view, at + 16, pageSize);
    },
  },
  migData: {
    size: LAYOUTS.migData.size,
    read: (view, at) => ({ argsz: u32(view, at), size: u32(view, at + 4) }),
    write(view, at, { argsz, size }) {
      put32(view, at, argsz);
      put32(view, at + 4, size);
    },
  },
};
