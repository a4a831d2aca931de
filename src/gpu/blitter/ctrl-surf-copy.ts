/**
 * XY_CTRL_SURF_COPY_BLT: compression metadata between its hidden place and plain memory.
 *
 * Source: drivers/gpu/drm/xe/xe_migrate.c (emit_copy_ccs): 4 KiB of main memory are one unit, which
 * has 8 bytes of metadata.
 */
import { XY_CTRL_SURF_COPY_BLT as COMMAND } from '../../xe/commands/blt.ts';
import { addressOf48, fieldOf } from '../../xe/commands/blt-fields.ts';
import type { GpuMemory, StepEnd, Transfer, TransferContext } from '../engine/contracts.ts';
import { CCS_RATIO } from '../flat-ccs.ts';
import { PAGE_SIZE } from './blit-memory.ts';

/** Bytes of metadata of a page. */
const PAGE_CCS_SIZE = PAGE_SIZE / CCS_RATIO;

interface Side {
  readonly address: number;
  /** Metadata lies at the address itself. */
  readonly direct: boolean;
}

class MetadataCopy implements Transfer {
  /** Pages. */
  progress = 0;
  faulted: GpuMemory | undefined;
  readonly #context: TransferContext;
  readonly #pages: number;
  readonly #src: Side;
  readonly #dst: Side;
  readonly #metadata = new Uint8Array(PAGE_CCS_SIZE);

  constructor(context: TransferContext, pages: number, src: Side, dst: Side) {
    this.#context = context;
    this.#pages = pages;
    this.#src = src;
    this.#dst = dst;
  }

  step(budget: number): StepEnd {
    this.faulted = undefined;
    const end = Math.min(this.#pages, this.progress + Math.ceil(Math.max(budget, 1) / PAGE_SIZE));
    for (; this.progress < end; this.progress++) {
      if (!this.#read(this.progress) || !this.#write(this.progress)) {
        this.faulted = this.#context.ppgtt;
        return 'fault';
      }
      this.#context.copied(PAGE_CCS_SIZE);
    }
    return this.progress < this.#pages ? 'more' : 'done';
  }

  #read(page: number): boolean {
    const { address, direct } = this.#src;
    const { ppgtt, flatCcs } = this.#context;
    const metadata = this.#metadata;
    if (direct) return ppgtt.read(address + page * PAGE_CCS_SIZE, metadata);
    const run = ppgtt.run(address + page * PAGE_SIZE, 1, 'read');
    if (run === undefined) return false;
    if (run.where === 'null' || flatCcs === undefined) metadata.fill(0);
    else flatCcs.read(run.where, pageOf(run.physical), metadata);
    return true;
  }

  #write(page: number): boolean {
    const { address, direct } = this.#dst;
    const { ppgtt, flatCcs } = this.#context;
    if (direct) return ppgtt.write(address + page * PAGE_CCS_SIZE, this.#metadata);
    const run = ppgtt.run(address + page * PAGE_SIZE, 1, 'write');
    if (run === undefined) return false;
    if (run.where !== 'null') flatCcs?.write(run.where, pageOf(run.physical), this.#metadata);
    return true;
  }
}

function pageOf(physical: number): number {
  return physical - (physical % PAGE_SIZE);
}

/** Decodes XY_CTRL_SURF_COPY_BLT. */
export function startCtrlSurfCopy(
  dwords: Uint32Array,
  context: TransferContext,
): Transfer | undefined {
  const pages = fieldOf(dwords, COMMAND.SIZE) + 1;
  return new MetadataCopy(
    context,
    pages,
    {
      address: addressOf48(dwords, COMMAND.SRC_ADDRESS),
      direct: fieldOf(dwords, COMMAND.SRC_ACCESS_TYPE) === 1,
    },
    {
      address: addressOf48(dwords, COMMAND.DST_ADDRESS),
      direct: fieldOf(dwords, COMMAND.DST_ACCESS_TYPE) === 1,
    },
  );
}
