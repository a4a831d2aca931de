/** The server's side of `tool-request.ts`. */
import { Fault } from '../base/fault.ts';
import { type Fields, fieldsOf } from '../migration/fault-json.ts';
import { countOf } from '../migration/profile-json.ts';
import type { RelayVersion } from '../pf/pf-service.ts';
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

const OPERATIONS: Readonly<
  Record<ToolOperation, (vf: AskedVf, request: Fields) => Promise<ToolAnswer>>
> = {
  vf: async ({ vfid, host, device, server }) => ({
    relayVersion: host.relayVersion(vfid),
    unready: host.unready(vfid),
    ggttStart: host.ggttStart(vfid),
    irq: device.enabledIrq,
    vmmPid: server.vmmPid,
    dmaLogging: device.dmaLogging,
  }),
  counters: async ({ vfid, host }) => ({ vfid, counters: host.counters(vfid) }),
  rewrite: async ({ server }) => ({ ...server.rewriteDirty() }),
  unnoticed: async ({ vfid, host }, { relayVersion }) => {
    host.resumeUnnoticed(vfid, versionOf(relayVersion));
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
export async function answerTool(request: Fields, vf: AskedVf): Promise<ToolAnswer> {
  const { ask: op } = request;
  if (typeof op !== 'string' || !Object.hasOwn(OPERATIONS, op))
    throw new Fault('EINVAL', `there is no request ${JSON.stringify(op)?.slice(0, 40)}`);
  return await OPERATIONS[op as ToolOperation](vf, request);
}

/** @throws {Fault} EINVAL when it is no version */
function versionOf(value: unknown): RelayVersion | undefined {
  if (value === undefined) return undefined;
  const { major, minor } = fieldsOf(value) ?? {};
  const [known, step] = [countOf(major), countOf(minor)];
  if (known === undefined || step === undefined) throw new Fault('EINVAL', 'a malformed version');
  return { major: known, minor: step };
}
