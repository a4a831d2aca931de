import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import {
  type Capabilities,
  decodeVersion,
  encodeVersion,
} from '../../src/vfio-user/capabilities.ts';

const OURS: Capabilities = {
  maxMsgFds: 16,
  maxDataXferSize: 2 ** 20,
  maxDmaMaps: 65535,
  pgsizes: 4096,
  writeMultiple: true,
  twinSocket: { supported: true, fdIndex: 0 },
  role: 'migration',
  extension: { vfid: 3 },
};

function versionBytes(json: string, minor = 1): Uint8Array {
  return new Uint8Array([0, 0, minor, 0, ...new TextEncoder().encode(json), 0]);
}

function withCapability(name: string, value: unknown): Uint8Array {
  return versionBytes(JSON.stringify({ capabilities: { [name]: value } }));
}

describe('VERSION', () => {
  test('the bytes of a message', () => {
    const named = new Set(['max_msg_fds']);
    const text = Buffer.from(encodeVersion(1, OURS, named)).toString('latin1');
    expect(text).toBe('\0\0\u0001\0{"capabilities":{"max_msg_fds":16}}\0');
  });

  test('what is encoded is decoded again', () => {
    const message = decodeVersion(encodeVersion(1, OURS));
    expect(message).toMatchObject({ major: 0, minor: 1 });
    expect(message.capabilities).toEqual({
      ...OURS,
      extension: { vfid: 3, role: 'migration' },
    });
    expect(message.json).toMatchObject({ max_msg_fds: 16, write_multiple: true });
  });

  test('a client that says nothing gets the defaults', () => {
    const { capabilities, named } = decodeVersion(new Uint8Array([0, 0, 0, 0]));
    expect(named.size).toBe(0);
    expect(capabilities).toMatchObject({
      maxMsgFds: 1,
      maxDataXferSize: 1048576,
      maxDmaMaps: 65535,
      pgsizes: 4096,
      writeMultiple: false,
      role: undefined,
    });
  });

  test('a reply names only what the request named', () => {
    const reply = decodeVersion(encodeVersion(0, OURS, new Set(['pgsizes', 'unheard_of'])));
    expect([...reply.named]).toEqual(['pgsizes']);
  });

  test('unknown capabilities and keys are ignored', () => {
    const text = '{"capabilities":{"wings":2,"xe_vfio":"no object"},"other":[]}';
    const { capabilities } = decodeVersion(versionBytes(text));
    expect(capabilities.role).toBeUndefined();
  });

  test('a peer may take no descriptors at all', () => {
    expect(decodeVersion(withCapability('max_msg_fds', 0)).capabilities.maxMsgFds).toBe(0);
  });

  test.each([
    ['max_msg_fds', 'foo'],
    ['max_msg_fds', -1],
    ['max_msg_fds', 1.5],
    ['max_data_xfer_size', 'x'],
    ['max_data_xfer_size', 0],
    ['max_data_xfer_size', 2 ** 53],
    ['max_dma_maps', []],
    ['pgsizes', null],
    ['write_multiple', 1],
    ['twin_socket', 1],
    ['twin_socket', { supported: 'yes' }],
    ['twin_socket', { supported: true, fd_index: -1 }],
  ])('%s: %j is refused', (name, value) => {
    expect(() => decodeVersion(withCapability(name, value))).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
  });

  test.each(['{', '"', '[]', '3', 'null', '{"capabilities":[]}', '\xff'])(
    'the version data %j is refused',
    (text) => {
      const bytes = new Uint8Array([0, 0, 1, 0, ...Buffer.from(text, 'latin1'), 0]);
      expect(() => decodeVersion(bytes)).toThrow(Fault);
    },
  );

  test('version data without NUL is refused', () => {
    expect(() => decodeVersion(versionBytes('{}').subarray(0, -1))).toThrow(Fault);
  });

  test('any bytes give a value or a Fault', () => {
    const json = fc.json().map((text) => versionBytes(text));
    const wrapped = fc.json().map((text) => versionBytes(`{"capabilities":${text}}`));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), json, wrapped), (bytes) => {
        try {
          decodeVersion(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(Fault);
        }
      }),
      { numRuns: 500 },
    );
  });
});
