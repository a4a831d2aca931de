/**
 * The manifest of a saved VM: JSON, the last member of which is the SHA-256 of all in front of it.
 *
 * docs/whole-vm.md has an example; test/fixtures/vm-manifest.json is one that has to stay readable.
 */
import { createHash } from 'node:crypto';
import { Fault } from '../base/fault.ts';
import { type Fields, fieldsOf } from '../migration/fault-json.ts';
import { countOf } from '../migration/profile-json.ts';
import type { ConfigWrite } from './vm-config.ts';
import type { VmShape } from './vm-facts.ts';
import type { VmBar } from './vm-pci.ts';
import type { VmDeviceView } from './vm-source.ts';

/** What a manifest says that it is, and the version that is written. */
const FORMAT = 'xe-vfio VM';
const VERSION = 1;

/** A file beside the manifest. */
export interface SavedFile {
  readonly file: string;
  readonly bytes: number;
  /** Hex digits. */
  readonly sha256: string;
}

/** What is known of a saved VM. */
export interface VmManifest {
  /** ISO 8601. */
  readonly createdAt: string;
  /** Of the QEMU that it was saved from. */
  readonly qemu: string;
  readonly vm: VmShape;
  /** What the guest made of its VF. */
  readonly device: VmDeviceView;
  /** First GGTT address of the VF, undefined when it is not known. */
  readonly ggttStart: number | undefined;
  /** True when QEMU's state has RAM at fixed places (capability `mapped-ram`). */
  readonly mappedRam: boolean;
  readonly ram: SavedFile;
  readonly vf: SavedFile;
}

/** The text of a manifest. */
export function encodeManifest(manifest: VmManifest): string {
  const { createdAt, qemu, vm, device, ggttStart, mappedRam, ram, vf } = manifest;
  const body = {
    format: FORMAT,
    version: VERSION,
    createdAt,
    qemu,
    vm: {
      machine: vm.machine,
      cpus: vm.cpus,
      memory: vm.memory,
      backends: vm.backends.map(({ id, size, share }) => ({ id, size, share })),
      vfs: vm.vfs.map(({ id, address }) => ({ id, address })),
    },
    device: {
      irq: device.irq,
      relayVersion: device.relayVersion,
      writes: device.writes.map(({ name, offset, size, value }) => ({ name, offset, size, value })),
      bars: device.bars.map(({ bar, size, address }) => ({ bar, size, address })),
    },
    ggttStart,
    mappedRam,
    ram,
    vf,
  };
  return `${JSON.stringify({ ...body, sha256: digestOf(body) }, undefined, 2)}\n`;
}

/**
 * Reads the text of a manifest.
 *
 * @param path for people
 * @throws {Fault} EINVAL when it is none, or of a later version; EBADMSG when it was altered
 */
export function decodeManifest(text: string, path: string): VmManifest {
  const { sha256, ...body } = parse(text, path);
  if (body['format'] !== FORMAT) throw new Fault('EINVAL', `${path} is no saved VM`);
  if (body['version'] !== VERSION)
    throw new Fault('EINVAL', `${path} has version ${String(body['version'])}, not ${VERSION}`, {
      hint: 'a later xe-vfio has written it',
    });
  if (sha256 !== digestOf(body)) throw new Fault('EBADMSG', `the manifest of ${path} was altered`);
  // The digest says that this is what encodeManifest has written.
  const told = body as unknown as VmManifest;
  const { createdAt, qemu, vm, device, mappedRam, ram, vf } = told;
  const writes = device.writes.map((each): ConfigWrite => ({ ...each }));
  const bars = device.bars.map(
    ({ bar, size, address }): VmBar => ({ bar, size, address: countOf(address) }),
  );
  const irq = countOf(device.irq);
  const { relayVersion } = device;
  const ggttStart = countOf(told.ggttStart);
  const view: VmDeviceView = { writes, irq, bars, relayVersion };
  return { createdAt, qemu, vm, device: view, ggttStart, mappedRam, ram, vf };
}

function parse(text: string, path: string): Fields {
  try {
    const fields = fieldsOf(JSON.parse(text));
    if (fields !== undefined) return fields;
  } catch {
    // What is no JSON is no manifest either.
  }
  throw new Fault('EINVAL', `${path} is no saved VM`);
}

function digestOf(body: object): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex');
}
