/**
 * Which command does what, and which client may use it.
 */
import { Fault } from '../base/fault.ts';
import { VFIO_DEVICE_FLAGS } from '../vfio/uapi.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import type { Capabilities, ConnectionRole } from './capabilities.ts';
import { dmaMap, dmaUnmap } from './command-dma.ts';
import { deviceFeature } from './command-feature.ts';
import { getInfo, getIrqInfo, getRegionInfo, getRegionIoFds } from './command-info.ts';
import { setIrqs } from './command-irq.ts';
import { migDataRead } from './command-migration.ts';
import { precopyInfo } from './command-precopy.ts';
import type { DmaTable } from './dma-table.ts';
import type { MigrationSession } from './migration-session.ts';
import { commandName, VFIO_USER } from './protocol.ts';
import type { RegionTable } from './region-io.ts';
import { demand, type Request } from './request.ts';

/** What the clients of one server share. */
export interface ServerState {
  readonly device: VfioDevice;
  readonly regions: RegionTable;
  readonly session: MigrationSession;
  /** Whether the device can log the pages that it writes. */
  readonly dmaLogging: boolean;
  /** What the server tells its clients of itself beside the protocol's own capabilities. */
  readonly extension: (() => Readonly<Record<string, unknown>>) | undefined;
}

/** A negotiated client. */
export interface Client {
  readonly role: ConnectionRole;
  /** What the client said of itself. */
  readonly peer: Capabilities;
  /** Greatest count of a data transfer that was announced to it, bytes. */
  readonly maxDataXferSize: number;
  readonly dma: DmaTable;
  readonly server: ServerState;
  /** True while the log of DMA writes is this client's, and ends with it. */
  logging: boolean;
}

type Handler = (request: Request, client: Client) => number | Promise<number>;

async function reset(request: Request, client: Client): Promise<number> {
  const { device, session } = client.server;
  demand(request.length === 0, `a payload of ${request.length} bytes`);
  demand((device.info.flags & VFIO_DEVICE_FLAGS.RESET) !== 0, 'this device cannot be reset');
  if (client.role === 'migration' && !session.heldBy(client))
    throw new Fault('EPERM', 'only the holder of the migration session may reset the device');
  await device.reset();
  await session.afterReset(client);
  return 0;
}

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [VFIO_USER.DMA_MAP, (request, { server, dma }) => dmaMap(request, server.device, dma)],
  [VFIO_USER.DMA_UNMAP, (request, { server, dma }) => dmaUnmap(request, server.device, dma)],
  [VFIO_USER.DEVICE_GET_INFO, (request, { server }) => getInfo(request, server.device)],
  [
    VFIO_USER.DEVICE_GET_REGION_INFO,
    (request, { server, peer }) => getRegionInfo(request, server.device, peer.maxMsgFds > 0),
  ],
  [
    VFIO_USER.DEVICE_GET_REGION_IO_FDS,
    (request, { server }) => getRegionIoFds(request, server.device),
  ],
  [VFIO_USER.DEVICE_GET_IRQ_INFO, (request, { server }) => getIrqInfo(request, server.device)],
  [VFIO_USER.DEVICE_SET_IRQS, (request, { server }) => setIrqs(request, server.device)],
  [VFIO_USER.DEVICE_RESET, reset],
  [VFIO_USER.REGION_WRITE_MULTI, (request, { server }) => server.regions.writeMulti(request)],
  [
    VFIO_USER.DEVICE_FEATURE,
    (request, client) =>
      deviceFeature(request, {
        device: client.server.device,
        dmaLogging: client.server.dmaLogging,
        maxDataXferSize: client.maxDataXferSize,
        setState: (state) => client.server.session.setState(client, state),
        logging: (started) => {
          client.logging = started;
        },
      }),
  ],
  [
    VFIO_USER.MIG_DATA_READ,
    (request, client) =>
      migDataRead(request, client.maxDataXferSize, () =>
        client.server.session.data(client, 'read'),
      ),
  ],
  [
    VFIO_USER.MIG_GET_PRECOPY_INFO,
    (request, client) => {
      const { device, session } = client.server;
      return precopyInfo(request, device, () => session.data(client, 'read'));
    },
  ],
]);

/** What a client that only moves the state may do; RESET only while it holds the session. */
const MIGRATION_COMMANDS: ReadonlySet<number> = new Set([
  VFIO_USER.DEVICE_GET_INFO,
  VFIO_USER.DEVICE_GET_REGION_INFO,
  VFIO_USER.DEVICE_GET_IRQ_INFO,
  VFIO_USER.REGION_READ,
  VFIO_USER.DEVICE_RESET,
  VFIO_USER.DEVICE_FEATURE,
  VFIO_USER.MIG_DATA_READ,
  VFIO_USER.MIG_DATA_WRITE,
  VFIO_USER.MIG_GET_PRECOPY_INFO,
]);

/** @throws {Fault} EPERM when a client of this role may not use `command` */
export function checkRole(role: ConnectionRole, command: number): void {
  if (role === 'migration' && !MIGRATION_COMMANDS.has(command))
    throw new Fault('EPERM', `a migration client may not use ${commandName(command)}`);
}

/**
 * Runs every command but region access and MIG_DATA_WRITE, which the connection serves itself.
 *
 * @returns bytes of the reply's payload in its buffer
 * @throws {Fault} EINVAL for a command that there is not, EPERM, and what the command says
 */
export function runCommand(request: Request, client: Client): number | Promise<number> {
  const handler = HANDLERS.get(request.command);
  if (handler === undefined)
    throw new Fault('EINVAL', `a client cannot send ${commandName(request.command)}`);
  checkRole(client.role, request.command);
  return handler(request, client);
}
