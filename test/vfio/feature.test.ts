import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import {
  checkFeature,
  checkLogRanges,
  checkLogReport,
  FEATURE_RULES,
  LOG_MAX_RANGES,
  logBitmapSize,
} from '../../src/vfio/feature.ts';
import { VFIO_DEVICE_FEATURE, VFIO_FEATURE, VFIO_MIGRATION } from '../../src/vfio/uapi.ts';

const { GET, SET, PROBE } = VFIO_DEVICE_FEATURE;
const all = { migrationFlags: 7, dmaLogging: true };
const none = { migrationFlags: 0, dmaLogging: false };

function code(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

describe('VFIO_DEVICE_FEATURE', () => {
  it('takes what each feature knows, and only that', () => {
    for (const { feature, ops, payload } of FEATURE_RULES)
      for (const operation of [GET, SET] as const) {
        const known = (ops & operation) !== 0;
        const run = () => checkFeature(all, 8 + payload, feature | operation);
        expect(code(run), `feature ${feature}`).toBe(known ? 'ok' : 'EINVAL');
        if (!known) continue;
        expect(run()).toEqual({ feature, operation: operation === GET ? 'GET' : 'SET', payload });
        expect(checkFeature(all, 8, feature | operation | PROBE).operation).toBe('PROBE');
      }
  });

  it('refuses an argsz without room for the header before anything else', () => {
    for (const argsz of [0, 2, 7])
      expect(code(() => checkFeature(none, argsz, PROBE | 0x100_0000 | 77))).toBe('EINVAL');
  });

  it('refuses unknown bits before it looks at the feature', () => {
    expect(code(() => checkFeature(none, 8, 77 | GET | (1 << 20)))).toBe('EINVAL');
    expect(code(() => checkFeature(none, 8, (77 | GET | 0x8000_0000) >>> 0))).toBe('EINVAL');
    expect(code(() => checkFeature(none, 8, 77 | GET))).toBe('ENOTTY');
  });

  it('refuses GET with SET unless probed', () => {
    const both = VFIO_FEATURE.MIG_DEVICE_STATE | GET | SET;
    expect(code(() => checkFeature(all, 64, both))).toBe('EINVAL');
    expect(code(() => checkFeature(all, 64, both | PROBE))).toBe('ok');
    expect(code(() => checkFeature(all, 64, VFIO_FEATURE.MIGRATION | GET | SET | PROBE))).toBe(
      'EINVAL',
    );
  });

  it('lacks migration and logging with ENOTTY, pre-copy with EINVAL', () => {
    for (const { feature, needs } of FEATURE_RULES)
      expect(
        code(() => checkFeature(none, 64, feature | PROBE)),
        `feature ${feature}`,
      ).toBe(needs === 'precopy' ? 'EINVAL' : 'ENOTTY');
    const stopCopy = { migrationFlags: VFIO_MIGRATION.STOP_COPY, dmaLogging: false };
    expect(code(() => checkFeature(stopCopy, 8, VFIO_FEATURE.MIG_PRECOPY_INFOv2 | SET))).toBe(
      'EINVAL',
    );
  });

  it('knows no other number', () => {
    for (const feature of [0, 3, 4, 5, 10, 11, 13, 0xffff])
      expect(code(() => checkFeature(all, 64, feature | PROBE))).toBe('ENOTTY');
  });

  it('wants an operation, and room for its data, unless probed', () => {
    expect(code(() => checkFeature(all, 64, VFIO_FEATURE.MIGRATION))).toBe('EINVAL');
    expect(code(() => checkFeature(all, 15, VFIO_FEATURE.MIGRATION | GET))).toBe('EINVAL');
    expect(code(() => checkFeature(all, 8, VFIO_FEATURE.MIGRATION | GET | PROBE))).toBe('ok');
  });

  it('answers any 64 bits with a verdict or an errno', () => {
    const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(
        u32,
        u32,
        fc.integer({ min: 0, max: 7 }),
        fc.boolean(),
        (argsz, flags, m, log) => {
          const verdict = code(() =>
            checkFeature({ migrationFlags: m, dmaLogging: log }, argsz, flags),
          );
          expect(['ok', 'EINVAL', 'ENOTTY']).toContain(verdict);
        },
      ),
    );
  });
});

describe('DMA_LOGGING_START', () => {
  const range = (iova: number, length: number) => ({ iova, length });

  it('takes aligned ranges that are apart, in any order', () => {
    expect(code(() => checkLogRanges(4096, [range(0x3000, 0x1000), range(0, 0x3000)]))).toBe('ok');
  });

  it('refuses with the errno of Linux', () => {
    expect(code(() => checkLogRanges(4096, []))).toBe('EINVAL');
    expect(code(() => checkLogRanges(4096, [range(1, 4096)]))).toBe('EINVAL');
    expect(code(() => checkLogRanges(4096, [range(0, 4097)]))).toBe('EINVAL');
    expect(code(() => checkLogRanges(4096, [range(0, 0)]))).toBe('EINVAL');
    expect(code(() => checkLogRanges(4096, [range(0, 8192), range(4096, 4096)]))).toBe('EINVAL');
    expect(code(() => checkLogRanges(4096, [range(2 ** 53 - 4096, 8192)]))).toBe('EOVERFLOW');
    expect(code(() => checkLogRanges(4096, [range(Number.POSITIVE_INFINITY, 4096)]))).toBe(
      'EOVERFLOW',
    );
    const many = (count: number) => Array.from({ length: count }, (_, i) => range(i * 8192, 4096));
    expect(code(() => checkLogRanges(4096, many(LOG_MAX_RANGES)))).toBe('ok');
    expect(code(() => checkLogRanges(4096, many(LOG_MAX_RANGES + 1)))).toBe('E2BIG');
    for (const pageSize of [0, 1, 2048, 4095, 6144, Number.NaN, Number.POSITIVE_INFINITY])
      expect(code(() => checkLogRanges(pageSize, [range(0, 4096)]))).toBe('EINVAL');
  });
});

describe('DMA_LOGGING_REPORT', () => {
  it('checks its page size and its range', () => {
    expect(code(() => checkLogReport(123, 5, 4096))).toBe('ok');
    expect(code(() => checkLogReport(0, 4096, 2048))).toBe('EINVAL');
    expect(code(() => checkLogReport(0, 4096, 12288))).toBe('EINVAL');
    expect(code(() => checkLogReport(2 ** 53 - 1, 1, 4096))).toBe('EOVERFLOW');
  });

  it('needs whole words of bitmap', () => {
    expect(logBitmapSize(0, 4096)).toBe(0);
    expect(logBitmapSize(1, 4096)).toBe(8);
    expect(logBitmapSize(64 * 4096, 4096)).toBe(8);
    expect(logBitmapSize(64 * 4096 + 1, 4096)).toBe(16);
    expect(logBitmapSize(100 * 4096, 4096)).toBe(16);
  });
});
