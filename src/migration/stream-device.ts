import type { StreamGt, StreamTarget } from '../xe/migration-stream.ts';
import { platformOfDevice } from '../xe/platforms.ts';

/** What the one who asks knows about the VF that a stream is meant for. */
export interface DeviceClaim {
  readonly deviceId?: number | undefined;
  readonly revisionId?: number | undefined;
  /** Bytes of GGTT that the VF owns. */
  readonly ggttSize?: number | undefined;
  /** Bytes of VRAM that the VF owns. */
  readonly vramSize?: number | undefined;
  /** Bytes of GuC state that the firmware of each GT takes, by GT id. */
  readonly gucStateSizes?: readonly number[] | undefined;
}

/** A target with everything that follows from its device id: GTs, tiles, integrated or discrete. */
export function streamTarget(claim: DeviceClaim): StreamTarget {
  const { deviceId, revisionId, ggttSize, gucStateSizes } = claim;
  const platform = deviceId === undefined ? undefined : platformOfDevice(deviceId);
  const vramSize = claim.vramSize ?? (platform?.discrete === false ? 0 : undefined);
  const gts = platform?.gts.map(
    ({ id, tileId, type }): StreamGt => ({
      id,
      tile: tileId,
      type,
      gucStateSize: gucStateSizes?.[id],
    }),
  );
  return { deviceId, revisionId, ggttSize, vramSize, gts };
}

/** What `claim` says, and what `fallback` says where it says nothing. */
export function mergeClaims(claim: DeviceClaim, fallback: DeviceClaim = {}): DeviceClaim {
  return {
    deviceId: claim.deviceId ?? fallback.deviceId,
    revisionId: claim.revisionId ?? fallback.revisionId,
    ggttSize: claim.ggttSize ?? fallback.ggttSize,
    vramSize: claim.vramSize ?? fallback.vramSize,
    gucStateSizes: claim.gucStateSizes ?? fallback.gucStateSizes,
  };
}
