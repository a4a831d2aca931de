/** MIG_GET_PRECOPY_INFO, our own command: what VFIO_MIG_GET_PRECOPY_INFO asks of a data file. */
import { expect, test } from 'vitest';
import { MIG_STATE } from '../../../src/vfio/migration-state.ts';
import { VFIO_DEVICE_FEATURE, VFIO_FEATURE } from '../../../src/vfio/uapi.ts';
import { VFIO_USER } from '../../../src/vfio-user/protocol.ts';
import type { Message, RawClient } from '../../support/raw-client.ts';
import { conformance, enterState, type Subject, seeMigrationFlags } from './conformance.ts';
import { expectInvalid, expectSuccess } from './expectations.ts';

const COMMAND = VFIO_USER.MIG_GET_PRECOPY_INFO;
const { PRE_COPY, PRE_COPY_P2P, STOP_COPY, RUNNING } = MIG_STATE;
const PRE_COPY_FLAG = 4;

function ask(client: RawClient, argsz: number, flags = 0): Message {
  const payload = new Uint8Array(24);
  const view = new DataView(payload.buffer);
  view.setUint32(0, argsz, true);
  view.setUint32(4, flags, true);
  return client.call(COMMAND, payload);
}

function optIn(client: RawClient): void {
  const payload = new Uint8Array(8);
  const view = new DataView(payload.buffer);
  view.setUint32(0, 8, true);
  view.setUint32(4, VFIO_FEATURE.MIG_PRECOPY_INFOv2 | VFIO_DEVICE_FEATURE.SET, true);
  expectSuccess(client.call(VFIO_USER.DEVICE_FEATURE, payload), VFIO_USER.DEVICE_FEATURE);
}

conformance('PCI', (subject: Subject) => {
  test('PCI-01 the structure in the two pre-copy states, EINVAL elsewhere', () => {
    const client = subject.client();
    expectInvalid(ask(client, 24), COMMAND);
    if ((seeMigrationFlags(client) & PRE_COPY_FLAG) === 0) return;
    for (const state of [PRE_COPY, PRE_COPY_P2P]) {
      enterState(client, state);
      const { payload } = expectSuccess(ask(client, 24), COMMAND, 24);
      const view = new DataView(payload.buffer, payload.byteOffset);
      expect(view.getUint32(0, true)).toBe(24);
      expect(view.getBigUint64(8, true)).toBeGreaterThan(0n);
      expect(view.getBigUint64(16, true)).toBe(0n);
    }
    enterState(client, STOP_COPY);
    expectInvalid(ask(client, 24), COMMAND);
    enterState(client, RUNNING);
  });

  test('PCI-02 argsz: too little is EINVAL, more brings more', () => {
    const client = subject.client();
    if ((seeMigrationFlags(client) & PRE_COPY_FLAG) === 0) return;
    enterState(client, PRE_COPY);
    for (const argsz of [0, 23]) expectInvalid(ask(client, argsz), COMMAND);
    expectSuccess(ask(client, 39), COMMAND, 24);
    for (const argsz of [40, 4096]) expectSuccess(ask(client, argsz), COMMAND, 40);
    enterState(client, RUNNING);
  });

  test('PCI-03 flags are echoed, as ever, before version 2 and mean something after', () => {
    const client = subject.client();
    if ((seeMigrationFlags(client) & PRE_COPY_FLAG) === 0) return;
    enterState(client, PRE_COPY);
    const flagsOf = ({ payload }: Message) =>
      new DataView(payload.buffer, payload.byteOffset).getUint32(4, true);
    expect(flagsOf(expectSuccess(ask(client, 24, 0xabcd), COMMAND, 24))).toBe(0xabcd);
    optIn(client);
    expect(flagsOf(expectSuccess(ask(client, 24, 0xabcd), COMMAND, 24))).toBe(0);
    enterState(client, RUNNING);
  });
});
