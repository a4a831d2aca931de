/** The server's side of `tool-request.ts`. */
import { Fault } from '../base/fault.ts';
import { VFIO_PCI_IRQ } from '../vfio/uapi.ts';
import type { VfioUserServer } from '../vfio-user/server.ts';
import type { XeVfioPci } from '../xe-vfio-pci/xe-vfio-pci.ts';
import type { ToolAnswer, ToolOperation } from './tool-request.ts';
import type { VfHost } from './vf-host.ts';

/** A served VF. */
export interface AskedVf {
  readonly vfid: number;
  readonly host: VfHost;
  readonly device: XeVfioPci;
  readonly server: VfioUserServer;
}

const OPERATIONS: Readonly<Record<ToolOperation, (vf: AskedVf) => Promise<ToolAnswer>>> = {
  vf: async ({ vfid, host, device, server }) => ({
    ggttStart: host.ggttStart(vfid),
    irq: device.enabledIrq,
    vmmPid: server.vmmPid,
    dmaLogging: device.dmaLogging,
  }),
  counters: async ({ vfid, host }) => ({ vfid, counters: host.counters(vfid) }),
  rewrite: async ({ server }) => ({ ...server.rewriteDirty() }),
  unnoticed: async ({ vfid, host }) => {
    host.resumeUnnoticed(vfid);
    return {};
  },
  interrupt: async ({ device }) => {
    if (device.enabledIrq === VFIO_PCI_IRQ.MSI) device.raiseIrq(VFIO_PCI_IRQ.MSI, 0);
    return {};
  },
  fence: async ({ server }) => {
    await server.fence();
    return {};
  },
  unfence: async ({ server }) => {
    server.unfence();
    return {};
  },
};

/** Answers the request of a tool. @throws {Fault} EINVAL for one that there is not; what it says */
export async function answerTool(op: unknown, vf: AskedVf): Promise<ToolAnswer> {
  if (typeof op !== 'string' || !Object.hasOwn(OPERATIONS, op))
    throw new Fault('EINVAL', `there is no request ${JSON.stringify(op)?.slice(0, 40)}`);
  return await OPERATIONS[op as ToolOperation](vf);
}
