/**
 * The running server's half of a hand-over. Until it says `go` it can take everything back: what goes
 * over are duplicates of its descriptors and the stream of each VF.
 */
import { Fault } from '../base/fault.ts';
import { POLL } from '../sys/poll.ts';
import { MIG_STATE, migStateName } from '../vfio/migration-state.ts';
import type { VfioUserServer } from '../vfio-user/server.ts';
import type { ServerLoop } from '../vfio-user/server-loop.ts';
import { encodeHandover } from './handover-state.ts';
import { type HandoverWire, MAX_FRAME_FDS } from './handover-wire.ts';
import { type HomedVf, populateVram } from './rehome.ts';

/** Bytes that are read of the stream at a time. */
const READ_SIZE = 16 * 2 ** 20;

/** A VF that is handed over. */
export interface HandedVf extends HomedVf {
  readonly server: VfioUserServer;
}

/**
 * Hands all VFs over to the process at the other end of `wire`. On success nothing of them is in use
 * here any more; on any failure they run on as before.
 *
 * @returns milliseconds for which the guests were held
 * @throws {Fault} ECONNRESET when the other process is gone, EAGAIN when it says nothing; EBUSY while
 * somebody else moves a VF's state
 */
export async function handOver(
  vfs: readonly HandedVf[],
  wire: HandoverWire,
  loop: ServerLoop,
): Promise<number> {
  await readable(wire, loop);
  expect(wire, 'ready');
  for (const vf of vfs) await populateVram(vf);
  const releases: (() => void)[] = [];
  const stopped: HandedVf[] = [];
  const startedAt = performance.now();
  try {
    for (const vf of vfs) releases.push(await vf.server.hold());
    for (const vf of vfs) await mustRun(vf);
    for (const vf of vfs) {
      stopped.push(vf);
      await send(vf, wire);
    }
    expect(wire, 'loaded');
    wire.sendJson({ step: 'go', heldMs: performance.now() - startedAt });
  } catch (error) {
    abort(wire);
    for (const { device } of stopped) await device.setMigrationState(MIG_STATE.RUNNING);
    for (const release of releases) release();
    throw error;
  }
  for (const { host, vfid, server } of vfs) {
    host.gpu.abandonBarMemory(vfid);
    server.handedOver();
  }
  for (const release of releases) release();
  return performance.now() - startedAt;
}

async function mustRun({ device }: HandedVf): Promise<void> {
  const state = await device.migrationState();
  if (state !== MIG_STATE.RUNNING)
    throw new Fault('EBUSY', `a VF is in ${migStateName(state)}, not RUNNING`);
}

/** The stream, then what is beside it. */
async function send({ host, vfid, device, server }: HandedVf, wire: HandoverWire): Promise<void> {
  const memory = host.gpu.barMemory(vfid);
  try {
    const data = await device.setMigrationState(MIG_STATE.STOP_COPY);
    for (;;) {
      const parts = (await data?.read(READ_SIZE)) ?? [];
      if (parts.length === 0) break;
      wire.sendBytes(parts);
    }
    const relayVersion = host.relayVersion(vfid);
    const state = {
      ...{ server: server.export(), attachment: device.attachment() },
      ...{ memory, relayVersion },
    };
    const { json, fds } = encodeHandover(state);
    for (let at = 0; at < fds.length; at += MAX_FRAME_FDS)
      wire.sendJson({ step: 'descriptors' }, fds.slice(at, at + MAX_FRAME_FDS));
    wire.sendJson({ step: 'vf', ...json });
  } finally {
    memory.ggtt.memfd.close();
    memory.vram?.close();
  }
}

/** @throws {Fault} ECONNRESET, EPROTO */
function expect(wire: HandoverWire, step: string): void {
  const frame = wire.receive();
  if (frame === undefined)
    throw new Fault('ECONNRESET', `the new server has gone before it was ${step}`);
  if (frame.json?.['step'] !== step)
    throw new Fault('EPROTO', `the new server gave up: ${String(frame.json?.['reason'])}`);
}

/** The other process may be gone, or must not go on. */
function abort(wire: HandoverWire): void {
  try {
    wire.sendJson({ step: 'abort' });
  } catch {
    // It is gone.
  }
}

/** Resolves when the other process has said something; the guests run meanwhile. */
function readable(wire: HandoverWire, loop: ServerLoop): Promise<void> {
  return new Promise((resolve) => {
    const watch = loop.watch(wire.fd, POLL.IN, {
      ready: () => {
        watch.remove();
        resolve();
      },
    });
  });
}
