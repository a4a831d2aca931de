/** An emulated GPU with scripted engines, and a driver that submits contexts to it. */
import { EmulatedGpu, type EmulatedGpuOptions } from '../../../src/gpu/emulated-gpu.ts';
import { HXG_TYPE, hxgAction, hxgRequest } from '../../../src/xe/guc/hxg.ts';
import { encodeKlvU32 } from '../../../src/xe/guc/klv.ts';
import { type KlvSpec, PF2GUC_ACTION, VF_CFG_KLV } from '../../../src/xe/guc/pf-actions.ts';
import {
  CONTEXT_POLICY_KLV,
  G2H_ACTION,
  H2G_ACTION,
  REGISTER_CONTEXT,
} from '../../../src/xe/guc/vf-actions.ts';
import {
  driverInGuestMemory,
  gtOf,
  guestMemory,
  MIB,
  provision,
  QUOTA,
  type TestQuota,
  type VfDriver,
  writePte,
} from '../vf-driver.ts';
import { ScriptedEngines } from './scripted-engine.ts';

/** Bytes behind a driver's own memory where its contexts are, a page of GGTT each. */
const CONTEXTS_AT = MIB;
/** Where the memory of contexts is in the guest, by VF. */
const CONTEXTS_IOVA = 0x2_0000_0000;

/** A context as a test sees it. */
export interface TestContext {
  readonly id: number;
  /** GGTT address of its image. */
  readonly lrc: number;
}

/** One VF of the GPU. */
export class SubmittingVf {
  readonly driver: VfDriver;
  readonly quota: TestQuota;
  /** The guest memory behind the context images. */
  readonly images: Uint8Array;

  constructor(gpu: EmulatedGpu, vfid: number, quota: TestQuota, gt: 'main' | 'media') {
    this.quota = quota;
    this.driver = driverInGuestMemory(gpu, gt, quota, vfid);
    const { bytes, mapping } = guestMemory(CONTEXTS_IOVA, 64 * 4096);
    this.images = bytes;
    this.driver.vf.dmaMap(mapping);
    for (let at = 0; at < bytes.length; at += 4096)
      writePte(this.driver.vf, quota.ggttStart + CONTEXTS_AT + at, CONTEXTS_IOVA + at, false);
    this.driver.boot();
  }

  /** GGTT address of page `n` behind the driver's memory. */
  page(n: number): number {
    return this.quota.ggttStart + CONTEXTS_AT + n * 4096;
  }

  context(id: number): TestContext {
    return { id, lrc: this.page(id * 2) };
  }

  /** Registers a context of one LRC, without enabling it. */
  register(
    id: number,
    options: {
      engineClass?: number;
      mask?: number;
      flags?: number;
      policies?: Partial<Record<keyof typeof CONTEXT_POLICY_KLV, number>>;
    } = {},
  ): TestContext {
    const context = this.context(id);
    const dwords = new Array<number>(REGISTER_CONTEXT.LENGTH).fill(0);
    dwords[REGISTER_CONTEXT.FLAGS] = options.flags ?? 1;
    dwords[REGISTER_CONTEXT.CONTEXT_INDEX] = id;
    dwords[REGISTER_CONTEXT.ENGINE_CLASS] = options.engineClass ?? 0;
    dwords[REGISTER_CONTEXT.ENGINE_SUBMIT_MASK] = options.mask ?? 1;
    dwords[REGISTER_CONTEXT.HW_LRC_ADDR] = context.lrc | 0x19;
    this.driver.send(H2G_ACTION.REGISTER_CONTEXT, dwords.slice(1));
    const policies = Object.entries(options.policies ?? {}) as [
      keyof typeof CONTEXT_POLICY_KLV,
      number,
    ][];
    if (policies.length > 0)
      this.driver.send(H2G_ACTION.UPDATE_CONTEXT_POLICIES, [
        id,
        ...policies.flatMap(([name, value]) => [(CONTEXT_POLICY_KLV[name] << 16) | 1, value]),
      ]);
    return context;
  }

  enable({ id }: { readonly id: number }): void {
    this.driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [id, 1]);
  }

  disable({ id }: { readonly id: number }): void {
    this.driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [id, 0]);
  }

  poke({ id }: { readonly id: number }): void {
    this.driver.send(H2G_ACTION.SCHED_CONTEXT, [id]);
  }

  /** Registers and enables a context. */
  start(id: number, options: Parameters<SubmittingVf['register']>[1] = {}): TestContext {
    const context = this.register(id, options);
    this.enable(context);
    return context;
  }

  /** Events that came since the last call: the action's name and its dwords. */
  events(): Array<readonly [name: string, ...payload: number[]]> {
    return this.driver.take().map(([, header = 0, ...payload]) => {
      const type = (header >>> 28) & 0x7;
      if (type !== HXG_TYPE.EVENT) return ['answer', header, ...payload];
      const action = hxgAction(header);
      const name = Object.entries(G2H_ACTION).find(([, value]) => value === action)?.[0];
      return [name ?? `0x${action.toString(16)}`, ...payload];
    });
  }
}

/** Gives a VF more of its configuration, one dword each. */
export function configure(
  gpu: EmulatedGpu,
  gt: number,
  vfid: number,
  values: Partial<Record<keyof typeof VF_CFG_KLV, number>>,
): void {
  const { guc } = gtOf(gpu, gt);
  const entries = Object.entries(values) as [keyof typeof VF_CFG_KLV, number][];
  const klvs = new Uint32Array(entries.length * 2);
  let at = 0;
  for (const [name, value] of entries) {
    const { key }: KlvSpec = VF_CFG_KLV[name];
    at = encodeKlvU32(klvs, at, key, value);
  }
  const buffer = guc.buffer(klvs.byteLength);
  buffer.bytes.set(new Uint8Array(klvs.buffer));
  const header = hxgRequest(PF2GUC_ACTION.UPDATE_VF_CFG.action);
  guc.send([header, vfid, buffer.ggttAddress, 0, klvs.length]);
  buffer.release();
}

/** The quota of a VF, each with its own part of the GGTT. */
function quotaOf(vfid: number): TestQuota {
  return { ...QUOTA, ggttStart: QUOTA.ggttStart + (vfid - 1) * QUOTA.ggttSize };
}

/** A GPU with scripted engines and `vfs` VFs whose drivers are up. */
export function scriptedGpu(
  options: Partial<EmulatedGpuOptions> & { vfs?: number; gt?: 'main' | 'media' } = {},
) {
  const { vfs: count = 1, gt = 'main', ...rest } = options;
  const engines = new ScriptedEngines();
  const gpu = new EmulatedGpu({
    platform: 'ptl',
    loader: engines,
    turns: engines.turns,
    now: engines.now,
    ...rest,
  });
  const vfs = Array.from({ length: count }, (_, n) => {
    provision(gpu, n + 1, quotaOf(n + 1));
    return new SubmittingVf(gpu, n + 1, quotaOf(n + 1), gt);
  });
  return { gpu, engines, vfs, vf: vfs[0] as SubmittingVf };
}
