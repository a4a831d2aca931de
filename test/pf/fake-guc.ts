import type { ErrnoName } from '../../src/base/errno.ts';
import { Fault } from '../../src/base/fault.ts';
import type { GucBuffer, GucPort, GucVersion } from '../../src/pf/ports.ts';
import { hxgAction, hxgData0, hxgEvent } from '../../src/xe/guc/hxg.ts';
import { countKlvs } from '../../src/xe/guc/klv.ts';
import {
  GUC2PF_ACTION,
  PF2GUC_ACTION,
  SAVE_RESTORE_OPCODE,
  VF_CONTROL_COMMAND,
  VF_NOTIFY,
} from '../../src/xe/guc/pf-actions.ts';

/** The golden model's GuC, one a GT. */
export class FakeGuc implements GucPort {
  version: GucVersion = { major: 70, minor: 54, patch: 0 };
  /** Every message that was sent. */
  readonly sent: number[][] = [];
  /** KLV dwords of every configuration that was sent. */
  readonly configs: Uint32Array[] = [];
  /** Errors to answer with, by what is asked. */
  readonly errors: { control?: ErrnoName; save?: ErrnoName; restore?: ErrnoName } = {};
  /** Times that a command is answered with EBUSY first. */
  busy = 0;
  /** False: PAUSE_DONE and FLR_DONE do not come by themselves. */
  answersDone = true;
  /** VFs' state by VFID; undefined until something is there. */
  readonly states = new Map<number, Uint8Array>();
  readonly stateSize: number;
  /** Called before a command is carried out. */
  onCommand: ((vfid: number, command: number) => void) | undefined;
  /** Called when a VF's state was restored. */
  onRestore: (() => void) | undefined;
  #handler: (message: readonly number[]) => void = () => undefined;
  readonly #buffers = new Map<number, Uint8Array>();
  #nextAddress = 0x10_0000;

  constructor(stateSize: number) {
    this.stateSize = stateSize;
  }

  onEvent(handler: (message: readonly number[]) => void): void {
    this.#handler = handler;
  }

  event(...message: number[]): void {
    this.#handler(message);
  }

  notify(vfid: number, event: number): void {
    this.event(hxgEvent(GUC2PF_ACTION.VF_STATE_NOTIFY.action), vfid, event);
  }

  /** Buffers that were not given back. */
  get heldBuffers(): number {
    return this.#buffers.size;
  }

  buffer(size: number): GucBuffer {
    if (size <= 0 || size > 8 * 2 ** 20) throw new Fault('ENOBUFS', `no buffer of ${size} bytes`);
    const ggttAddress = this.#nextAddress;
    this.#nextAddress += 4096;
    const bytes = new Uint8Array(size);
    this.#buffers.set(ggttAddress, bytes);
    return { ggttAddress, bytes, release: () => this.#buffers.delete(ggttAddress) };
  }

  state(vfid: number): Uint8Array {
    let state = this.states.get(vfid);
    if (state === undefined) {
      state = new Uint8Array(this.stateSize);
      this.states.set(vfid, state);
    }
    return state;
  }

  send(message: readonly number[]): number {
    this.sent.push([...message]);
    const [header = 0, vfid = 0, a = 0, , size = 0] = message;
    switch (hxgAction(header)) {
      case PF2GUC_ACTION.VF_CONTROL.action:
        return this.#control(vfid, a);
      case PF2GUC_ACTION.SAVE_RESTORE_VF.action:
        return this.#saveRestore(hxgData0(header), vfid, a, size);
      case PF2GUC_ACTION.UPDATE_VF_CFG.action: {
        if (size === 0) return 0;
        const bytes = this.#buffers.get(a) as Uint8Array;
        const klvs = new Uint32Array(bytes.slice().buffer, 0, size);
        this.configs.push(klvs);
        return countKlvs(klvs);
      }
      default:
        return 0;
    }
  }

  #control(vfid: number, command: number): number {
    if (this.busy > 0) {
      this.busy--;
      throw new Fault('EBUSY', 'try again');
    }
    this.onCommand?.(vfid, command);
    if (this.errors.control !== undefined) throw new Fault(this.errors.control, 'injected');
    if (command === VF_CONTROL_COMMAND.FLR_START) this.states.delete(vfid);
    if (!this.answersDone) return 0;
    if (command === VF_CONTROL_COMMAND.PAUSE) this.notify(vfid, VF_NOTIFY.PAUSE_DONE);
    if (command === VF_CONTROL_COMMAND.FLR_START) this.notify(vfid, VF_NOTIFY.FLR_DONE);
    return 0;
  }

  #saveRestore(opcode: number, vfid: number, address: number, dwords: number): number {
    if (opcode === SAVE_RESTORE_OPCODE.SAVE) {
      if (address === 0) return this.stateSize / 4;
      if (this.errors.save !== undefined) throw new Fault(this.errors.save, 'injected');
      (this.#buffers.get(address) as Uint8Array).set(this.state(vfid));
      return this.stateSize / 4;
    }
    if (this.errors.restore !== undefined) throw new Fault(this.errors.restore, 'injected');
    if (dwords * 4 !== this.stateSize) throw new Fault('EIO', 'firmware refuses this size');
    this.state(vfid).set(this.#buffers.get(address) as Uint8Array);
    this.onRestore?.();
    return dwords;
  }
}
