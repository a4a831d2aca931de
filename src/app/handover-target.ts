/** The new server's half of a hand-over. Nothing of it shows to a guest until it has been told `go`. */
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import { MIG_STATE } from '../vfio/migration-state.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import { requestControl } from '../vfio-user/control-request.ts';
import { answerIn } from './control-client.ts';
import { decodeHandover, type HandoverState } from './handover-state.ts';
import { HANDOVER_VERSION, HandoverWire } from './handover-wire.ts';
import { type HomedVf, populateVram } from './rehome.ts';
import type { ServeOptions, VfHome } from './serve-messages.ts';

/** How long either process may be silent while guests are held. */
export const HANDOVER_TIMEOUT_MS = 20_000;

/** What the running server tells before anything stops. */
export interface HandoverOffer {
  readonly version: number;
  /** How it was started, without its sockets. */
  readonly options: ServeOptions;
  /** Its VFs: which number each socket is for, and where each VF is now. */
  readonly vfs: readonly { readonly vfid: number; readonly home: VfHome }[];
}

/** A step of a hand-over in the new process, in order. */
export type HandoverStep = 'offered' | 'ready' | 'streaming' | 'loaded' | 'go';

/** A VF that was taken over. */
export interface TakenVf {
  readonly target: HomedVf;
  readonly state: HandoverState;
}

/**
 * Asks the server at `path` to hand over.
 *
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves it; EOPNOTSUPP when it knows no hand-over;
 * EPROTO, what it says
 */
export function offerOf(path: string): {
  readonly offer: HandoverOffer;
  readonly wire: HandoverWire;
} {
  const request = { takeover: { version: HANDOVER_VERSION } };
  const { told, fds } = requestControl(path, request, HANDOVER_TIMEOUT_MS);
  const [fd, ...more] = fds;
  for (const each of more) closeFd(each);
  try {
    const offer = answerIn(told, 'takeover', path) as unknown as HandoverOffer;
    if (fd === undefined) throw new Fault('EPROTO', 'the server offers itself without a socket');
    return { offer, wire: new HandoverWire(new UnixSocket(fd), HANDOVER_TIMEOUT_MS) };
  } catch (error) {
    if (fd !== undefined) closeFd(fd);
    throw error;
  }
}

/** Prepares the VF that takes a served one's place. @throws {Fault} EINVAL when the guest would notice */
export async function prepareVf(target: HomedVf, home: VfHome): Promise<MigrationData> {
  const { host, vfid, device } = target;
  const start = host.gpu.ggttStart(vfid);
  if (start !== home.ggttStart)
    throw new Fault('EINVAL', `the GGTT of VF ${vfid} begins at ${start}, not ${home.ggttStart}`);
  const data = await device.setMigrationState(MIG_STATE.RESUMING);
  if (data === undefined) throw new Fault('EIO', 'the new VF takes no data');
  await populateVram(target);
  return data;
}

/**
 * Receives one VF: its stream into `data`, then what is beside it.
 *
 * @throws {Fault} ECONNRESET when the running server is gone, EPROTO, and what the restore says
 */
export async function receiveVf(wire: HandoverWire, data: MigrationData): Promise<HandoverState> {
  const fds: number[] = [];
  try {
    for (;;) {
      const frame = wire.receive();
      if (frame === undefined) throw new Fault('ECONNRESET', 'the running server has gone');
      fds.push(...frame.fds);
      const step = frame.json?.['step'];
      if (frame.json === undefined) await data.write(frame.bytes);
      else if (step === 'vf') return decodeHandover(frame.json, fds);
      else if (step !== 'descriptors')
        throw new Fault('ECANCELED', 'the running server has called the hand-over off');
    }
  } catch (error) {
    for (const fd of fds) closeFd(fd);
    throw error;
  }
}

/**
 * Says that everything is here and waits for `go`. A running server that is gone by then has left
 * the guests to this one.
 *
 * @returns milliseconds for which guests were held so far, undefined when nobody is left to say
 * @throws {Fault} ECANCELED when it has called the hand-over off
 */
export function awaitGo(wire: HandoverWire): number | undefined {
  wire.sendJson({ step: 'loaded' });
  const frame = wire.receive();
  if (frame !== undefined && frame.json?.['step'] !== 'go')
    throw new Fault('ECANCELED', 'the running server has called the hand-over off');
  const heldMs = frame?.json?.['heldMs'];
  return typeof heldMs === 'number' ? heldMs : undefined;
}
