/**
 * The emulated GuC of one GT: what the PF's driver says to it, and its VFs.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_actions_sriov_abi.h.
 */
import { Fault } from '../../base/fault.ts';
import type { GucBuffer, GucPort, GucVersion } from '../../pf/ports.ts';
import { enginesOf } from '../../xe/engines.ts';
import { GUC_RESPONSE, hxgAction, hxgEvent } from '../../xe/guc/hxg.ts';
import { GUC2PF_ACTION, VF_CFG_KLV } from '../../xe/guc/pf-actions.ts';
import { VF_SW_FLAG_COUNT } from '../../xe/registers.ts';
import type { ContextLoader } from '../engine/contracts.ts';
import type { GpuFaults } from '../faults.ts';
import { AdverseEvents } from './adverse-events.ts';
import { CcsContexts } from './ccs-contexts.ts';
import { GucError } from './guc-error.ts';
import type { GucVfHost } from './guc-vf-host.ts';
import { PfBuffers } from './pf-buffers.ts';
import { PF_HANDLERS } from './pf-handlers.ts';
import { Scheduler } from './scheduler.ts';
import { isStalled, serveStalled, serveVf } from './vf-service.ts';
import { type GucIdentity, VfSession } from './vf-session.ts';
import { GucVf } from './vf-state.ts';

/** What a GuC needs of the device around it. */
export interface GucSurroundings {
  readonly totalVfs: number;
  /** GGTT address of the PF's buffers for this GT. */
  readonly bufferBase: number;
  readonly faults: GpuFaults;
  /** Runs a task soon, never before the caller returned. */
  readonly schedule: (task: () => void) => void;
  /** A VF's memory and interrupt. */
  readonly host: (vfid: number) => GucVfHost;
  readonly loader: ContextLoader;
  /** Milliseconds, monotonic, with fractions. */
  readonly now: () => number;
  /** There is work for {@link Guc.run}. */
  readonly wake: () => void;
}

/** How often messages that found no room are tried again, ms: nobody tells when there is room. */
const ROOM_POLL_MS = 1;

/** The GuC of one GT. */
export class Guc implements GucPort {
  readonly identity: GucIdentity;
  readonly faults: GpuFaults;
  /** Policies of UPDATE_VGT_POLICY by key. */
  readonly policies = new Map<number, readonly number[]>();
  readonly scheduler: Scheduler;
  readonly loader: ContextLoader;
  readonly #around: GucSurroundings;
  /** VFs whose messages wait for room. */
  readonly #stalled = new Set<VfSession>();
  readonly #adverse: AdverseEvents;
  readonly #buffers: PfBuffers;
  readonly #ccs: CcsContexts;
  readonly #vfs = new Map<number, GucVf>();
  readonly #sessions = new Map<number, VfSession>();
  /** VF_SW_FLAG(n) of each VF, four after the other. */
  readonly #flags: Uint32Array;
  #handler: ((message: readonly number[]) => void) | undefined;

  constructor(identity: GucIdentity, around: GucSurroundings) {
    this.identity = identity;
    this.faults = around.faults;
    this.loader = around.loader;
    this.#around = around;
    this.#buffers = new PfBuffers(around.bufferBase);
    this.#flags = new Uint32Array((around.totalVfs + 1) * VF_SW_FLAG_COUNT);
    this.#adverse = new AdverseEvents({
      policies: this.policies,
      now: around.now,
      report: (vfid, key) =>
        this.#sendToPf([hxgEvent(GUC2PF_ACTION.ADVERSE_EVENT.action), vfid, key]),
    });
    const engines = enginesOf(identity.gt.engines);
    this.scheduler = new Scheduler(engines, around);
    this.#ccs = new CcsContexts(engines, around);
  }

  get version(): GucVersion {
    return this.identity.version;
  }

  send(message: readonly number[]): number {
    const action = hxgAction(message[0] ?? 0);
    try {
      const handler = PF_HANDLERS.get(action);
      if (handler === undefined)
        throw new GucError(GUC_RESPONSE.UNKNOWN_ACTION, `action 0x${action.toString(16)}`);
      return handler(this, message);
    } catch (error) {
      if (!(error instanceof GucError)) throw error;
      const { id } = this.identity.gt;
      throw new Fault('EIO', `GuC of GT ${id} refused: ${error.message}`, { cause: error });
    }
  }

  onEvent(handler: (message: readonly number[]) => void): void {
    this.#handler = handler;
  }

  buffer(size: number): GucBuffer {
    return this.#buffers.reserve(size);
  }

  /**
   * The PF's memory at a GGTT address.
   * @throws {GucError} INVALID_BUFFER_RANGE
   */
  pfMemory(address: number, length: number): Uint8Array {
    const bytes = this.#buffers.at(address, length);
    if (bytes === undefined)
      throw new GucError(
        GUC_RESPONSE.INVALID_BUFFER_RANGE,
        `no buffer of ${length} bytes at 0x${address.toString(16)}`,
      );
    return bytes;
  }

  /** Milliseconds, monotonic. */
  now(): number {
    return this.#around.now();
  }

  /** State of a VF. @throws {GucError} INVALID_VFID */
  vf(vfid: number): GucVf {
    if (vfid === 0) throw new GucError(GUC_RESPONSE.INVALID_VFID, 'VFID 0 is the PF');
    return this.function(vfid);
  }

  /** State of a VF, or of the PF, which is provisioned as VFID 0. @throws {GucError} INVALID_VFID */
  function(vfid: number): GucVf {
    if (!Number.isSafeInteger(vfid) || vfid < 0 || vfid > this.#around.totalVfs)
      throw new GucError(GUC_RESPONSE.INVALID_VFID, `VFID ${vfid}`);
    let vf = this.#vfs.get(vfid);
    if (vf === undefined) {
      vf = new GucVf(vfid);
      this.#vfs.set(vfid, vf);
    }
    return vf;
  }

  /** The software flag registers of a VF, live. */
  flags(vfid: number): Uint32Array {
    return this.#flags.subarray(vfid * VF_SW_FLAG_COUNT, (vfid + 1) * VF_SW_FLAG_COUNT);
  }

  /** One software flag register of a VF. */
  readFlag(vfid: number, n: number): number {
    return this.#flags[vfid * VF_SW_FLAG_COUNT + n] as number;
  }

  /** Writes one software flag register of a VF. */
  writeFlag(vfid: number, n: number, value: number): void {
    this.#flags[vfid * VF_SW_FLAG_COUNT + n] = value;
  }

  /** A VF as the message handlers see it. */
  session(vfid: number): VfSession {
    let session = this.#sessions.get(vfid);
    if (session === undefined) {
      session = new VfSession({
        guc: this.identity,
        vf: this.vf(vfid),
        host: this.#around.host(vfid),
        pf: {
          notify: (event) => this.notifyPf(vfid, event),
          send: (message) => this.#sendToPf(message),
          adverse: (threshold, amount) => this.#adverse.note(this.vf(vfid), threshold, amount),
        },
        scheduler: this.scheduler,
        ccs: this.#ccs,
        now: this.#around.now,
      });
      this.#sessions.set(vfid, session);
    }
    return session;
  }

  /** The VF rang: looks at its mailbox and H2G buffer. */
  serve(vfid: number): void {
    const session = this.session(vfid);
    const begin = this.#around.now();
    serveVf(session, this.flags(vfid));
    session.pf.adverse('H2G_STORM', (this.#around.now() - begin) * 1000);
    this.#watch(session);
  }

  /** Lets a VF that was paused go on: its contexts, and what waits for room in its buffers. */
  resume(vfid: number): void {
    const session = this.session(vfid);
    this.scheduler.resume(session);
    this.#watch(session);
  }

  /** Gives every VF that is provisioned a scheduling priority (SCHED_IF_IDLE). */
  setPriorities(priority: number): void {
    for (const { config } of this.#vfs.values())
      if (config.size > 0) config.set(VF_CFG_KLV.SCHED_PRIORITY.key, [priority]);
  }

  /**
   * Lets engines run, and firmware do what waits for room in a VF's buffers.
   * @returns milliseconds after which it wants to go on; Infinity until it wakes the device
   */
  run(deadline: number): number {
    for (const session of [...this.#stalled]) {
      serveStalled(session);
      this.#watch(session);
    }
    const next = this.scheduler.run(deadline, (session) => this.#watch(session));
    return this.#stalled.size > 0 ? Math.min(next, ROOM_POLL_MS) : next;
  }

  #watch(session: VfSession): void {
    const { execution, fixup } = session.vf;
    if (!isStalled(session) || execution !== 'running' || fixup.blocked) {
      this.#stalled.delete(session);
    } else if (!this.#stalled.has(session)) {
      this.#stalled.add(session);
      this.#around.wake();
    }
  }

  /** Tells the PF's driver about a VF: an event of VF_NOTIFY. It comes after the caller returned. */
  notifyPf(vfid: number, event: number): void {
    const { id } = this.identity.gt;
    if (this.faults.take('drop-event', id, vfid, (fault) => fault.event === event)) return;
    this.#sendToPf([hxgEvent(GUC2PF_ACTION.VF_STATE_NOTIFY.action), vfid, event]);
  }

  #sendToPf(message: readonly number[]): void {
    this.#around.schedule(() => this.#handler?.(message));
  }
}
