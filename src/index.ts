/**
 * xe-vfio as a library: the VFIO contract, what implements it, and what moves state between two of
 * them.
 */

export { EmulatedHost, type EmulatedHostOptions } from './app/emulated-host.ts';
export { ERRNO, type ErrnoName } from './base/errno.ts';
export { DeviceFault, Fault, MigrationFault, StreamFault } from './base/fault.ts';
export { migrate } from './migration/session.ts';
export { restore } from './migration/session-restore.ts';
export { save } from './migration/session-save.ts';
export { MIG_STATE, type MigState, migStateName, nextState } from './vfio/migration-state.ts';
export * as uapi from './vfio/uapi.ts';
export type { MigrationData, VfioDevice } from './vfio/vfio-device.ts';
export type { PciFunction } from './vfio-pci/pci-function.ts';
export { VfioUserClient } from './vfio-user/client.ts';
export { VfioUserServer } from './vfio-user/server.ts';
export { ServerLoop } from './vfio-user/server-loop.ts';
export type { XeSriovVfio } from './xe-vfio-pci/xe-sriov-vfio.ts';
export { XeVfioPci } from './xe-vfio-pci/xe-vfio-pci.ts';
