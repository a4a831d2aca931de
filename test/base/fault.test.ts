import { describe, expect, it } from 'vitest';
import { ERRNO, errnoName, knownErrno } from '../../src/base/errno.ts';
import { Fault, StreamFault, toFault } from '../../src/base/fault.ts';

describe('Fault', () => {
  it('carries the errno by name and number, the reason and the hint', () => {
    const fault = new Fault('EUCLEAN', 'GT 0 refused', { hint: 'reset the VF' });
    expect(fault).toMatchObject({
      code: 'EUCLEAN',
      errno: 117,
      message: 'GT 0 refused',
      hint: 'reset the VF',
    });
    expect('cause' in fault).toBe(false);
  });

  it('keeps its cause when it wraps', () => {
    const cause = new Error('short read');
    expect(new Fault('EIO', 'restore failed', { cause }).cause).toBe(cause);
    expect(toFault(cause)).toMatchObject({ code: 'EIO', message: 'short read', cause });
  });

  it('is handed on as it is by toFault', () => {
    const fault = new StreamFault('EINVAL', 'no', { offset: 280, packet: 3 });
    expect(toFault(fault)).toBe(fault);
    expect(fault).toMatchObject({ offset: 280, packet: 3 });
  });
});

describe('errno', () => {
  it('has one name a number, and finds each', () => {
    const values = Object.values(ERRNO);
    expect(new Set(values).size).toBe(values.length);
    for (const [name, value] of Object.entries(ERRNO)) expect(errnoName(value)).toBe(name);
  });

  it('names what it does not know by number, and falls back to EIO as a code', () => {
    expect(errnoName(4095)).toBe('errno 4095');
    expect(knownErrno(4095)).toBe('EIO');
    expect(knownErrno(22)).toBe('EINVAL');
  });
});
