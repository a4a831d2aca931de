import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeRefusal, encodeRefusal } from '../../src/app/refusal-json.ts';
import { XE_VFIO_CAPABILITY } from '../../src/app/vf-profile-json.ts';
import { Fault, StreamFault } from '../../src/base/fault.ts';

function overTheWire(refusal: unknown): Fault | undefined {
  const wire: unknown = JSON.parse(JSON.stringify({ refusal }));
  return decodeRefusal({ [XE_VFIO_CAPABILITY]: wire });
}

test('a fault comes through with its errno and reason', () => {
  const told = overTheWire(encodeRefusal(new Fault('EBUSY', 'another one is at it')));
  expect(told).toMatchObject({ code: 'EBUSY', message: 'another one is at it' });
  expect(told).not.toBeInstanceOf(StreamFault);
});

test('a fault of a stream keeps its place', () => {
  const fault = new StreamFault('ENODEV', 'of another device', { offset: 40, packet: 1 });
  const told = overTheWire(encodeRefusal(fault));
  expect(told).toBeInstanceOf(StreamFault);
  expect(told).toMatchObject({ code: 'ENODEV', offset: 40, packet: 1 });
});

test('whatever a server says is a fault or nothing', () => {
  const errno = fc.oneof(fc.constant('EIO'), fc.string());
  const refusal = fc.oneof(
    fc.jsonValue(),
    fc.record({ errno, reason: fc.jsonValue(), offset: fc.jsonValue(), packet: fc.jsonValue() }),
  );
  fc.assert(
    fc.property(refusal, (value) => {
      const told = overTheWire(value);
      if (told !== undefined) expect(told.message.length).toBeLessThanOrEqual(300);
    }),
  );
  expect(overTheWire({ errno: 'toString', reason: 'x' })).toBeUndefined();
});
