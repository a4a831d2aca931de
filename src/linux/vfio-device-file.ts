/**
 * A VFIO device of the kernel by its descriptor: its requests as calls, nothing added.
 *
 * Source: drivers/vfio/vfio_main.c, drivers/vfio/pci/vfio_pci_core.c.
 */
import { readSync, writeSync } from 'node:fs';
import { Fault } from '../base/fault.ts';
import { IoctlArgument, ioctl, ioctlInBackground } from '../sys/ioctl.ts';
import {
  VFIO_DEVICE_FEATURE,
  VFIO_FEATURE,
  VFIO_REGION_INFO_CAP,
  VFIO_REGION_INFO_FLAG,
} from '../vfio/uapi.ts';
import type { DeviceInfo, IrqInfo, IrqSet, RegionInfo } from '../vfio/vfio-device.ts';
import { faultOfFile } from './sysfs-read.ts';
import { findCapability } from './vfio-info-caps.ts';
import { getStruct, putStruct } from './vfio-struct.ts';
import { VFIO_IOCTL, VFIO_STRUCT } from './vfio-uapi.ts';

const { device_info, region_info, irq_info, irq_set, device_feature } = VFIO_STRUCT;

/** A page is room enough for every structure and its capabilities; more is asked for when not. */
const ARGUMENT_SIZE = 4096;

const FEATURE_NAMES = Object.entries(VFIO_FEATURE);

/** A region of a kernel device, and where it lies in the descriptor. */
export interface KernelRegion extends RegionInfo {
  readonly fileOffset: number;
}

/** The requests of one device descriptor, which stays the caller's. */
export class VfioDeviceFile {
  readonly fd: number;
  /** What messages call it, such as `0000:03:00.1`. */
  readonly name: string;

  constructor(fd: number, name: string) {
    this.fd = fd;
    this.name = name;
  }

  /** `VFIO_DEVICE_GET_INFO`. @throws {Fault} the driver's errno */
  info(): DeviceInfo {
    using argument = new IoctlArgument(device_info.size);
    putStruct(argument.view, 0, device_info, { argsz: device_info.size });
    this.#ask(VFIO_IOCTL.DEVICE_GET_INFO, argument, 'describe');
    const { flags, num_regions, num_irqs } = getStruct(argument.view, 0, device_info);
    return { flags, numRegions: num_regions, numIrqs: num_irqs };
  }

  /**
   * `VFIO_DEVICE_GET_REGION_INFO`: the parts that may be mapped are those of the sparse-mmap
   * capability, or all of a region that can be mapped and has no such capability.
   * @throws {Fault} EINVAL when there is no region `index`
   */
  region(index: number): KernelRegion {
    return this.#region(index, ARGUMENT_SIZE);
  }

  #region(index: number, room: number): KernelRegion {
    using argument = new IoctlArgument(room);
    putStruct(argument.view, 0, region_info, { argsz: room, index });
    this.#ask(VFIO_IOCTL.DEVICE_GET_REGION_INFO, argument, `describe region ${index} of`);
    const told = getStruct(argument.view, 0, region_info);
    if (told.argsz > room) return this.#region(index, told.argsz);
    const size = Number(told.size);
    const fileOffset = Number(told.offset);
    const { READ, WRITE, MMAP, CAPS } = VFIO_REGION_INFO_FLAG;
    const sparse =
      (told.flags & CAPS) === 0 ? undefined : this.#sparse(argument.view, told.cap_offset);
    const whole = (told.flags & MMAP) !== 0 && size > 0 ? [{ offset: 0, size }] : [];
    const areas = (sparse ?? whole).map((area) => ({
      ...area,
      fd: this.fd,
      fdOffset: fileOffset + area.offset,
    }));
    const mmap = areas.length > 0 ? MMAP : 0;
    return { index, flags: (told.flags & (READ | WRITE)) | mmap, size, areas, fileOffset };
  }

  #sparse(view: DataView, first: number): { offset: number; size: number }[] | undefined {
    const { region_info_cap_sparse_mmap, region_sparse_mmap_area } = VFIO_STRUCT;
    let at = findCapability(view, first, VFIO_REGION_INFO_CAP.SPARSE_MMAP);
    if (at === undefined) return undefined;
    const { nr_areas } = getStruct(view, at, region_info_cap_sparse_mmap);
    at += region_info_cap_sparse_mmap.size;
    return Array.from({ length: nr_areas }, (_, n) => {
      const area = getStruct(view, at + n * region_sparse_mmap_area.size, region_sparse_mmap_area);
      return { offset: Number(area.offset), size: Number(area.size) };
    });
  }

  /** `VFIO_DEVICE_GET_IRQ_INFO`. @throws {Fault} EINVAL when there is no interrupt `index` */
  irq(index: number): IrqInfo {
    using argument = new IoctlArgument(irq_info.size);
    putStruct(argument.view, 0, irq_info, { argsz: irq_info.size, index });
    this.#ask(VFIO_IOCTL.DEVICE_GET_IRQ_INFO, argument, `describe interrupt ${index} of`);
    const { flags, count } = getStruct(argument.view, 0, irq_info);
    return { index, flags, count };
  }

  /**
   * `VFIO_DEVICE_SET_IRQS`; descriptors stay the caller's.
   * @throws {Fault} the driver's errno; ENOSPC when fewer vectors are to be had than were asked for
   */
  setIrqs({ flags, index, start, count, bools, fds }: IrqSet): void {
    const size = irq_set.size + (bools?.length ?? 0) + 4 * (fds?.length ?? 0);
    using argument = new IoctlArgument(size);
    putStruct(argument.view, 0, irq_set, { argsz: size, flags, index, start, count });
    if (bools !== undefined) argument.bytes.set(bools, irq_set.size);
    for (const [n, fd] of (fds ?? []).entries())
      argument.view.setInt32(irq_set.size + 4 * n, fd, true);
    const result = this.#ask(VFIO_IOCTL.DEVICE_SET_IRQS, argument, `set interrupt ${index} of`);
    // Source: vfio_msi_enable: a positive result is how many vectors there would be.
    if (result > 0)
      throw new Fault('ENOSPC', `${this.name} can have ${result} vectors, not ${start + count}`);
  }

  /** `VFIO_DEVICE_RESET`. @throws {Fault} EINVAL, ENOTTY when the device cannot be reset; EIO ... */
  async reset(): Promise<void> {
    await ioctlInBackground(this.fd, VFIO_IOCTL.DEVICE_RESET, 0, `reset ${this.name}`);
  }

  /**
   * `VFIO_DEVICE_FEATURE` on a thread of its own.
   *
   * @param flags a feature's number with bits of `VFIO_DEVICE_FEATURE`
   * @param data what is sent; the answer is as long
   * @throws {Fault} the driver's errno
   */
  async feature(flags: number, data: Uint8Array): Promise<DataView> {
    using argument = featureArgument(flags, data);
    const { address } = argument;
    const what = featureText(flags, this.name);
    await ioctlInBackground(this.fd, VFIO_IOCTL.DEVICE_FEATURE, address, what);
    return featureAnswer(argument, data.length);
  }

  /** {@link feature} on the caller's thread, for what waits for nothing. */
  featureNow(flags: number, data: Uint8Array): DataView {
    using argument = featureArgument(flags, data);
    const what = featureText(flags, this.name);
    ioctl(this.fd, VFIO_IOCTL.DEVICE_FEATURE, argument.address, what);
    return featureAnswer(argument, data.length);
  }

  /**
   * Reads a region through the descriptor, in accesses as wide as size and alignment allow.
   * @throws {Fault} EIO when the device does not decode memory ...
   */
  read(fileOffset: number, bytes: Uint8Array, at: number, count: number): void {
    const done = transfer(() => readSync(this.fd, bytes, at, count, fileOffset), 'read', this.name);
    if (done !== count) throw new Fault('EIO', `${this.name} gave ${done} of ${count} bytes`);
  }

  /** Writes a region through the descriptor. @throws {Fault} EIO ... */
  write(fileOffset: number, bytes: Uint8Array, at: number, count: number): void {
    const done = transfer(
      () => writeSync(this.fd, bytes, at, count, fileOffset),
      'write',
      this.name,
    );
    if (done !== count) throw new Fault('EIO', `${this.name} took ${done} of ${count} bytes`);
  }

  #ask(request: number, argument: IoctlArgument, verb: string): number {
    return ioctl(this.fd, request, argument.address, `${verb} ${this.name}`);
  }
}

function featureArgument(flags: number, data: Uint8Array): IoctlArgument {
  const size = device_feature.size + data.length;
  const argument = new IoctlArgument(size);
  putStruct(argument.view, 0, device_feature, { argsz: size, flags });
  argument.bytes.set(data, device_feature.size);
  return argument;
}

/** A copy of what stands after the header. */
function featureAnswer({ bytes }: IoctlArgument, length: number): DataView {
  const answer = bytes.slice(device_feature.size, device_feature.size + length);
  return new DataView(answer.buffer);
}

function featureText(flags: number, name: string): string {
  const number = flags & VFIO_DEVICE_FEATURE.MASK;
  const feature = FEATURE_NAMES.find(([, value]) => value === number)?.[0] ?? String(number);
  const verb = (flags & VFIO_DEVICE_FEATURE.SET) === 0 ? 'ask for' : 'set';
  return `${verb} ${feature} of ${name}`;
}

function transfer(run: () => number, verb: string, name: string): number {
  try {
    return run();
  } catch (error) {
    throw faultOfFile(error, `${verb} ${name}`);
  }
}
