/** The use case serve: settings as a person gives them, made into what a host serves. */
import { Fault } from '../base/fault.ts';
import type { PrecopyFind } from '../gpu/precopy/change-finder.ts';
import { parseVersion } from '../migration/profile-json.ts';
import type { PlatformName } from '../xe/platforms.ts';
import { platformByName } from '../xe/platforms.ts';
import { ServedHost } from './serve.ts';
import type { ServedSocket } from './serve-messages.ts';

export { PRECOPY_FINDS } from '../gpu/precopy/change-finder.ts';

/** What to serve, as given on a command line; what is left out is the platform's or a fair share. */
export interface ServeSettings {
  /** Address of a real PF; what follows up to the socket is then the PF's to say. */
  readonly pf?: string | undefined;
  /** Where the /sys, /dev and /run of its machine are. */
  readonly root?: string | undefined;
  readonly platform: string;
  /** VFs to enable. */
  readonly vfs: number;
  /** VFs to serve. */
  readonly served: readonly number[];
  /** Path of the socket, with %d for the VF's number where several are served. */
  readonly socket?: string | undefined;
  /** An inherited descriptor instead of a path. */
  readonly fd?: number | undefined;
  /** Bytes of each VF. */
  readonly vram?: number | undefined;
  readonly ggtt?: number | undefined;
  readonly contexts?: number | undefined;
  readonly doorbells?: number | undefined;
  /** Milliseconds of each VF's turn on the engines; one value for all of them, or one for each. */
  readonly execQuantum?: readonly number[] | undefined;
  /** Microseconds in which a VF's contexts have to leave at its end; one value, or one for each. */
  readonly preemptTimeout?: readonly number[] | undefined;
  /** Such as `70.54.0`. */
  readonly gucVersion?: string | undefined;
  readonly deviceId?: number | undefined;
  readonly revision?: number | undefined;
  readonly pollUs?: number | undefined;
  /** Exactly Linux's migration flags: no pre-copy. */
  readonly linuxFlags?: boolean | undefined;
  /** Percent of a core that looking for changes may take during a pre-copy. */
  readonly precopyBudget?: number | undefined;
  /** How it looks for them. */
  readonly precopyFind?: PrecopyFind | undefined;
  /** Names of the emulated PFs, the first of which is served. */
  readonly pfNames?: readonly string[] | undefined;
}

/**
 * Serves VFs of an emulated GPU, or of a real one.
 *
 * @throws {Fault} EINVAL for settings that make no sense, and what {@link ServedHost.start} throws
 */
export async function serveVfs(settings: ServeSettings): Promise<ServedHost> {
  const { pf, root } = settings;
  if (pf !== undefined) {
    const sockets = socketsOf(settings);
    return await ServedHost.start({ pf, root, sockets, pollUs: settings.pollUs });
  }
  const { vfs, contexts, doorbells, deviceId, pollUs, linuxFlags, precopyBudget } = settings;
  const platform: PlatformName = platformByName(settings.platform).name;
  const gucVersion = parseVersion(settings.gucVersion);
  if (settings.gucVersion !== undefined && gucVersion === undefined)
    throw new Fault('EINVAL', `"${settings.gucVersion}" is not a firmware version`, {
      hint: 'write it as 70.54.0',
    });
  return await ServedHost.start({
    platform,
    vfs,
    contexts,
    doorbells,
    deviceId,
    pollUs,
    linuxFlags,
    precopyBudget,
    precopyFind: settings.precopyFind,
    pfNames: settings.pfNames,
    gucVersion,
    revisionId: settings.revision,
    vramSize: settings.vram,
    ggttSize: settings.ggtt,
    execQuantaMs: forEach(vfs, settings.execQuantum),
    preemptTimeoutsUs: forEach(vfs, settings.preemptTimeout),
    sockets: socketsOf(settings),
  });
}

/** One value stands for as many as there are VFs. */
function forEach(
  vfs: number,
  values: readonly number[] | undefined,
): readonly number[] | undefined {
  const [only] = values ?? [];
  return values?.length === 1 && only !== undefined ? new Array<number>(vfs).fill(only) : values;
}

function socketsOf({ served, socket, fd }: ServeSettings): ServedSocket[] {
  if (fd !== undefined) {
    const [vfid] = served;
    if (served.length !== 1 || vfid === undefined)
      throw new Fault('EINVAL', 'a descriptor serves one VF', { hint: 'give one --vf' });
    return [{ vfid, path: undefined, fd }];
  }
  if (socket === undefined) throw new Fault('EINVAL', 'no place to serve was given');
  if (served.length > 1 && !socket.includes('%d'))
    throw new Fault('EINVAL', `${served.length} VFs cannot share the socket ${socket}`, {
      hint: 'put %d into the path, for the number of the VF',
    });
  return served.map((vfid) => ({ vfid, path: socket.replaceAll('%d', String(vfid)) }));
}
