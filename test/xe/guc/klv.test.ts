import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import {
  countKlvs,
  decodeKlvs,
  encodeKlvObject,
  encodeKlvString,
  encodeKlvU32,
  encodeKlvU64,
  KLV_MAX_LENGTH,
} from '../../../src/xe/guc/klv.ts';
import { goldenJson } from '../../pf/golden-files.ts';

interface Cases {
  readonly klv_count: {
    readonly dwords: readonly number[];
    readonly expect_for_first_n_dwords: Readonly<Record<string, number | string>>;
  };
  readonly klv_encode: {
    readonly u32: { readonly key: number; readonly value: number; readonly dwords: number[] };
    readonly u64: { readonly key: number; readonly value: string; readonly dwords: number[] };
    readonly string: {
      readonly empty: { readonly dwords_len: number };
      readonly longest_ok_chars: number;
    };
    readonly object_klv: {
      readonly group_key: number;
      readonly value1: number;
      readonly value2: string;
      readonly dwords: number[];
    };
    readonly object_nested: { readonly dwords: number[] };
    readonly object_raw: { readonly payload_dwords: number; readonly dword0: number };
  };
}

const cases = goldenJson<Cases>('provisioning_and_abi_cases.json');
const { u32, u64, string, object_klv, object_nested, object_raw } = cases.klv_encode;
const UNTOUCHED = 0xaaaa_5555;

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return error instanceof Fault ? error.code : 'not a fault';
  }
}

function space(dwords: number): Uint32Array {
  return new Uint32Array(dwords).fill(UNTOUCHED);
}

describe('counting and decoding KLVs', () => {
  const { dwords, expect_for_first_n_dwords } = cases.klv_count;

  for (const [n, wanted] of Object.entries(expect_for_first_n_dwords)) {
    it(`of the first ${n} dwords: ${wanted}`, () => {
      const klvs = Uint32Array.from(dwords.slice(0, Number(n)));
      const error = typeof wanted === 'string' ? wanted.slice(1) : undefined;
      expect(codeOf(() => countKlvs(klvs))).toBe(error);
      expect(codeOf(() => [...decodeKlvs(klvs)])).toBe(error);
      if (error === undefined) {
        expect(countKlvs(klvs)).toBe(wanted);
        expect([...decodeKlvs(klvs)]).toHaveLength(wanted as number);
      }
    });
  }

  it('gives back what was encoded', () => {
    const klv = fc.record({
      key: fc.nat(0xffff),
      value: fc.array(fc.nat(0xffff_ffff), { maxLength: 9 }),
    });
    fc.assert(
      fc.property(fc.array(klv, { maxLength: 12 }), (klvs) => {
        const encoded = space(klvs.reduce((sum, { value }) => sum + 1 + value.length, 0));
        let at = 0;
        for (const { key, value } of klvs)
          at = encodeKlvObject(encoded, at, key, (room) => {
            room.set(value);
            return value.length;
          });
        expect(at).toBe(encoded.length);
        const decoded = [...decodeKlvs(encoded)];
        expect(decoded.map(({ key, value }) => ({ key, value: [...value] }))).toEqual(klvs);
      }),
    );
  });

  it('makes of any dwords KLVs or ENODATA', () => {
    fc.assert(
      fc.property(fc.uint32Array({ maxLength: 40 }), (klvs) => {
        const error = codeOf(() => countKlvs(klvs));
        expect([undefined, 'ENODATA']).toContain(error);
        if (error === undefined) expect([...decodeKlvs(klvs)]).toHaveLength(countKlvs(klvs));
      }),
    );
  });
});

describe('encoding KLVs', () => {
  it('with 32-bit values', () => {
    for (const dwords of [0, 1])
      expect(codeOf(() => encodeKlvU32(space(dwords), 0, u32.key, u32.value))).toBe('ENOSPC');
    const klvs = space(3);
    expect(encodeKlvU32(klvs, 0, u32.key, u32.value)).toBe(2);
    expect([...klvs]).toEqual([...u32.dwords, UNTOUCHED]);
  });

  it('with 64-bit values', () => {
    for (const dwords of [0, 1, 2])
      expect(codeOf(() => encodeKlvU64(space(dwords), 0, u64.key, 0n))).toBe('ENOSPC');
    const klvs = space(7);
    expect(encodeKlvU64(klvs, 1, u64.key, BigInt(u64.value))).toBe(4);
    expect(encodeKlvU64(klvs, 4, 7, 0xfee0_0000_1234)).toBe(7);
    expect([...klvs]).toEqual([UNTOUCHED, ...u64.dwords, (7 << 16) | 2, 0x1234, 0xfee0]);
  });

  it('with texts', () => {
    for (const text of ['', 'a', 'abc', 'abcd', 'abcdefghijklmnopqrstuvwxyz']) {
      const dwords = 1 + Math.ceil((text.length + 1) / 4);
      const small = space(dwords - 1);
      expect(codeOf(() => encodeKlvString(small, 0, 9, text))).toBe('ENOSPC');
      expect([...small].every((dword) => dword === UNTOUCHED)).toBe(true);
      const klvs = space(dwords + 1);
      expect(encodeKlvString(klvs, 0, 9, text)).toBe(dwords);
      const value = Buffer.from(klvs.buffer, 4, 4 * (dwords - 1)).toString('latin1');
      expect(value).toBe(text.padEnd(value.length, '\0'));
      expect(klvs[dwords]).toBe(UNTOUCHED);
    }
    expect(encodeKlvString(space(9), 0, 9, '')).toBe(string.empty.dwords_len);
  });

  it('with the longest text, and not with a longer one', () => {
    const longest = 'x'.repeat(string.longest_ok_chars);
    const klvs = new Uint32Array(KLV_MAX_LENGTH + 1);
    expect(encodeKlvString(klvs, 0, 9, longest)).toBe(klvs.length);
    expect(codeOf(() => encodeKlvString(klvs, 0, 9, `${longest}x`))).toBe('E2BIG');
  });

  const group = (klvs: Uint32Array, at: number, key: number) =>
    encodeKlvObject(klvs, at, key, (room) =>
      encodeKlvU64(
        room,
        encodeKlvU32(room, 0, 0xf3df, object_klv.value1),
        0xf3e0,
        BigInt(object_klv.value2),
      ),
    );

  it('with KLVs inside', () => {
    const { dwords, group_key } = object_klv;
    const klvs = space(dwords.length);
    expect(group(klvs, 0, group_key)).toBe(dwords.length);
    expect([...klvs]).toEqual(dwords);
    expect(codeOf(() => group(space(dwords.length - 1), 0, group_key))).toBe('ENOSPC');
  });

  it('with groups inside of groups', () => {
    const [outer = 0, first = 0] = object_nested.dwords;
    const second = object_nested.dwords[7] as number;
    const klvs = space(object_nested.dwords.length);
    encodeKlvObject(klvs, 0, outer >>> 16, (room) =>
      group(room, group(room, 0, first >>> 16), second >>> 16),
    );
    expect([...klvs]).toEqual(object_nested.dwords);
  });

  it('with raw dwords', () => {
    const klvs = space(8);
    const { dword0, payload_dwords } = object_raw;
    expect(encodeKlvObject(klvs, 0, dword0 >>> 16, () => payload_dwords)).toBe(4);
    expect(klvs[0]).toBe(dword0);
  });

  it('with the longest and with no value of an encoder', () => {
    const klvs = new Uint32Array(KLV_MAX_LENGTH + 10);
    expect(encodeKlvObject(klvs, 0, 9, (room) => room.length)).toBe(KLV_MAX_LENGTH + 1);
    expect(encodeKlvObject(klvs, 5, 9, () => 0)).toBe(6);
    expect(codeOf(() => encodeKlvObject(space(0), 0, 9, () => 0))).toBe('ENOSPC');
    const fails = () => {
      throw new Fault('EUCLEAN', 'the encoder');
    };
    expect(codeOf(() => encodeKlvObject(klvs, 0, 9, fails))).toBe('EUCLEAN');
    expect(() => encodeKlvObject(klvs, 0, 9, (room) => room.length + 1)).toThrow(RangeError);
  });
});
