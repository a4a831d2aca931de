/** Putting logical ring contexts on engines. */
import { CommandStreamer } from './command-streamer.ts';
import { commandTable } from './command-table.ts';
import type { ContextLoader } from './contracts.ts';
import { LrcImage } from './lrc-image.ts';
import { parsePosition } from './position.ts';

/**
 * The {@link ContextLoader} of every engine. Holds no state.
 *
 * Source: drivers/gpu/drm/xe/xe_lrc.c; Intel's PRM, "Logical Ring Context".
 */
export const contextLoader: ContextLoader = {
  load(engine, context, host, position) {
    host.ggtt.invalidate();
    const image = LrcImage.read(host.ggtt, context);
    if (image === undefined) return undefined;
    return new CommandStreamer(engine, host, image, commandTable(engine.engineClass), position);
  },
  position: parsePosition,
};
