/**
 * The layouts against bytes that a C compiler made of include/uapi/linux/vfio.h and iommufd.h of Linux
 * 7.3: each field in turn filled with the digit of its place.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  IOMMU_IOAS_MAP,
  IOMMUFD_IOCTL,
  IOMMUFD_STRUCT,
} from '../../src/linux/vfio-iommufd-uapi.ts';
import {
  encodeStruct,
  getStruct,
  putStruct,
  type StructLayout,
} from '../../src/linux/vfio-struct.ts';
import { VFIO_EXTENSION, VFIO_IOCTL, VFIO_STRUCT } from '../../src/linux/vfio-uapi.ts';

const VFIO_GOLDEN: Record<keyof typeof VFIO_STRUCT, string> = {
  info_cap_header: '1111222233333333',
  group_status: '1111111122222222',
  device_info: '111111112222222233333333444444445555555566666666',
  region_info: '1111111122222222333333334444444455555555555555556666666666666666',
  region_info_cap_sparse_mmap: '1111111122222222',
  region_sparse_mmap_area: '11111111111111112222222222222222',
  irq_info: '11111111222222223333333344444444',
  irq_set: '1111111122222222333333334444444455555555',
  device_feature: '1111111122222222',
  device_feature_migration: '1111111111111111',
  device_feature_mig_state: '1111111122222222',
  device_feature_mig_data_size: '1111111111111111',
  device_feature_dma_logging_control: '111111111111111122222222333333334444444444444444',
  device_feature_dma_logging_range: '11111111111111112222222222222222',
  device_feature_dma_logging_report:
    '1111111111111111222222222222222233333333333333334444444444444444',
  precopy_info: '111111112222222233333333333333334444444444444444',
  device_bind_iommufd: '111111112222222233333333444444445555555555555555',
  device_attach_iommufd_pt: '11111111222222223333333344444444',
  iommu_type1_info: '111111112222222233333333333333334444444455555555',
  iommu_type1_info_cap_iova_range: '1111111122222222',
  iova_range: '11111111111111112222222222222222',
  iommu_type1_info_dma_avail: '11111111',
  iommu_type1_dma_map: '1111111122222222333333333333333344444444444444445555555555555555',
  iommu_type1_dma_unmap: '111111112222222233333333333333334444444444444444',
};

const IOMMUFD_GOLDEN: Record<keyof typeof IOMMUFD_STRUCT, string> = {
  ioas_alloc: '111111112222222233333333',
  iova_range: '11111111111111112222222222222222',
  ioas_iova_ranges: '1111111122222222333333334444444455555555555555556666666666666666',
  ioas_map: '11111111222222223333333344444444555555555555555566666666666666667777777777777777',
  ioas_unmap: '111111112222222233333333333333334444444444444444',
};

/** Each field filled with the digit of its place, from 1. */
function filled(layout: StructLayout): Record<string, bigint> {
  const digits = { u16: 4, u32: 8, s32: 8, u64: 16 };
  return Object.fromEntries(
    Object.entries(layout.fields).map(([name, { type }], index) => [
      name,
      BigInt(`0x${String(index + 1).repeat(digits[type])}`),
    ]),
  );
}

const CASES: [string, StructLayout, string][] = [
  ...Object.entries(VFIO_GOLDEN).map(([name, golden]): [string, StructLayout, string] => [
    `vfio_${name}`,
    VFIO_STRUCT[name as keyof typeof VFIO_STRUCT],
    golden,
  ]),
  ...Object.entries(IOMMUFD_GOLDEN).map(([name, golden]): [string, StructLayout, string] => [
    `iommu_${name}`,
    IOMMUFD_STRUCT[name as keyof typeof IOMMUFD_STRUCT],
    golden,
  ]),
];

describe.each(CASES)('%s', (_, layout, golden) => {
  it('is laid out as C lays it out', () => {
    const bytes = encodeStruct(layout, filled(layout));
    expect(Buffer.from(bytes).toString('hex')).toBe(golden);
    expect(layout.size).toBe(golden.length / 2);
  });

  it('gives back what was put in, anywhere', () => {
    fc.assert(
      fc.property(fc.nat(32), fc.infiniteStream(fc.bigInt(0n, 2n ** 15n - 1n)), (at, numbers) => {
        const view = new DataView(new ArrayBuffer(at + layout.size));
        const values: Record<string, bigint> = {};
        for (const name of Object.keys(layout.fields)) values[name] = numbers.next().value;
        putStruct(view, at, layout, values);
        const told = getStruct(view, at, layout);
        for (const [name, value] of Object.entries(values))
          expect(BigInt(told[name] as number | bigint)).toBe(value);
      }),
      { numRuns: 20 },
    );
  });
});

it('has the request numbers of vfio.h', () => {
  expect(VFIO_IOCTL).toEqual({
    GET_API_VERSION: 0x3b64,
    CHECK_EXTENSION: 0x3b65,
    SET_IOMMU: 0x3b66,
    IOMMU_GET_INFO: 0x3b70,
    IOMMU_MAP_DMA: 0x3b71,
    IOMMU_UNMAP_DMA: 0x3b72,
    GROUP_GET_STATUS: 0x3b67,
    GROUP_SET_CONTAINER: 0x3b68,
    GROUP_GET_DEVICE_FD: 0x3b6a,
    DEVICE_GET_INFO: 0x3b6b,
    DEVICE_GET_REGION_INFO: 0x3b6c,
    DEVICE_GET_IRQ_INFO: 0x3b6d,
    DEVICE_SET_IRQS: 0x3b6e,
    DEVICE_RESET: 0x3b6f,
    DEVICE_FEATURE: 0x3b75,
    DEVICE_BIND_IOMMUFD: 0x3b76,
    DEVICE_ATTACH_IOMMUFD_PT: 0x3b77,
    MIG_GET_PRECOPY_INFO: 0x3b79,
  });
  expect(VFIO_EXTENSION).toEqual({ TYPE1v2_IOMMU: 3 });
});

it('has the request numbers of iommufd.h', () => {
  expect(IOMMUFD_IOCTL).toEqual({
    IOAS_ALLOC: 0x3b81,
    IOAS_IOVA_RANGES: 0x3b84,
    IOAS_MAP: 0x3b85,
    IOAS_UNMAP: 0x3b86,
  });
  expect(IOMMU_IOAS_MAP).toEqual({ FIXED_IOVA: 1, WRITEABLE: 2, READABLE: 4 });
});

it('keeps the sign of a descriptor', () => {
  const layout = VFIO_STRUCT.device_feature_mig_state;
  const bytes = encodeStruct(layout, { device_state: 2, data_fd: -1 });
  expect(Buffer.from(bytes).toString('hex')).toBe('02000000ffffffff');
  expect(getStruct(new DataView(bytes.buffer), 0, layout)).toEqual({
    device_state: 2,
    data_fd: -1,
  });
});
