import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CTB_HEADER_LAYOUT,
  ctbFence,
  ctbFormat,
  ctbHeader,
  ctbLength,
} from '../../../src/xe/guc/ctb.ts';
import {
  GUC_RESPONSE,
  gucResponseName,
  HXG_HEADER_LAYOUT,
  HXG_ORIGIN,
  HXG_TYPE,
  hxgAction,
  hxgData0,
  hxgEvent,
  hxgFailure,
  hxgFromGuc,
  hxgRequest,
  hxgSuccess,
  hxgType,
  hxgValue,
} from '../../../src/xe/guc/hxg.ts';

/** The bits of a field as its layout says. */
function field(header: number, [high, low]: readonly [number, number]): number {
  return Math.floor((header >>> 0) / 2 ** low) % 2 ** (high - low + 1);
}

describe('HXG headers', () => {
  it('are those that the kernel makes', () => {
    expect(hxgRequest(0x550f, 0x100)).toBe(0x0100550f);
    expect(hxgEvent(0x5106)).toBe(0x90005106);
    expect(hxgEvent(0x4502, HXG_ORIGIN.HOST)).toBe(0x10004502);
    expect(hxgSuccess(0x1234567)).toBe(0xf1234567);
    expect(hxgFailure(0x107)).toBe(0xe0000107);
    expect(hxgFailure(0x30, 0xabc)).toBe(0xeabc0030);
  });

  it('come apart as they were put together', () => {
    fc.assert(
      fc.property(fc.nat(0xffff), fc.nat(0xfff), fc.nat(0xfff_ffff), (action, data0, value) => {
        const request = hxgRequest(action, data0);
        expect([hxgFromGuc(request), hxgType(request)]).toEqual([false, HXG_TYPE.REQUEST]);
        expect([hxgAction(request), hxgData0(request)]).toEqual([action, data0]);
        const success = hxgSuccess(value);
        expect([hxgFromGuc(success), hxgType(success)]).toEqual([true, HXG_TYPE.RESPONSE_SUCCESS]);
        expect(hxgValue(success)).toBe(value);
        expect(hxgType(hxgFailure(action))).toBe(HXG_TYPE.RESPONSE_FAILURE);
      }),
    );
  });

  it('are laid out as their table says', () => {
    const { ORIGIN, TYPE, DATA0, ACTION, AUX, HINT, ERROR } = HXG_HEADER_LAYOUT;
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), (header) => {
        expect(field(header, ORIGIN)).toBe(hxgFromGuc(header) ? 1 : 0);
        expect(field(header, TYPE)).toBe(hxgType(header));
        expect([field(header, DATA0), field(header, ACTION)]).toEqual([
          hxgData0(header),
          hxgAction(header),
        ]);
        expect(field(header, AUX)).toBe(hxgValue(header));
      }),
    );
    const failure = hxgFailure(0x107, 0xabc);
    expect([field(failure, HINT), field(failure, ERROR)]).toEqual([0xabc, 0x107]);
  });

  it('name their errors', () => {
    expect(gucResponseName(GUC_RESPONSE.VF_MIGRATED)).toBe('VF_MIGRATED');
    expect(gucResponseName(0x1234)).toBe('error 0x1234');
  });
});

describe('CTB headers', () => {
  it('come apart as they were put together', () => {
    expect(ctbHeader(0x8001, 12)).toBe(0x8001000c);
    fc.assert(
      fc.property(fc.nat(0xffff), fc.nat(255), (fence, length) => {
        const header = ctbHeader(fence, length);
        const { FENCE, FORMAT, NUM_DWORDS } = CTB_HEADER_LAYOUT;
        expect([FENCE, FORMAT, NUM_DWORDS].map((bits) => field(header, bits))).toEqual([
          fence,
          0,
          length,
        ]);
        expect([ctbFence(header), ctbFormat(header), ctbLength(header)]).toEqual([
          fence,
          0,
          length,
        ]);
      }),
    );
  });
});
