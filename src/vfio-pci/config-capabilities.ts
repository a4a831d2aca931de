/**
 * The walk over a function's capability lists that builds what a user sees of them: known
 * capabilities with their permissions, hidden ones taken out of the lists.
 *
 * Source: drivers/vfio/pci/vfio_pci_config.c:vfio_cap_init, vfio_ecap_init.
 */
import { dataView } from '../base/int.ts';
import { type ConfigImage, permit } from './config-image.ts';
import {
  CAPABILITIES,
  type CapabilityRule,
  type ConfigReader,
  EXTENDED_CAPABILITIES,
} from './config-permissions.ts';
import {
  PCI,
  PCI_CAP_ID,
  PCI_CFG_SPACE_SIZE,
  PCI_STATUS_CAP_LIST,
  PCI_STD_HEADER_SIZE,
} from './pci-regs.ts';

/** Bytes of a capability that is only there to anchor the list. */
const PLACEHOLDER_SIZE = 4;

function ruleLength(rule: CapabilityRule | undefined, config: ConfigReader, at: number): number {
  if (rule === undefined) return 0;
  return typeof rule.length === 'number' ? rule.length : rule.length(config, at);
}

/** Lays a capability of `length` bytes over the image; its first `header` bytes are read-only. */
function place(
  image: ConfigImage,
  config: ConfigReader,
  rule: CapabilityRule | undefined,
  at: number,
  length: number,
  header: number,
): void {
  const end = Math.min(
    at + length,
    at < PCI_CFG_SPACE_SIZE ? PCI_CFG_SPACE_SIZE : image.virt.length,
  );
  for (let byte = at; byte < end; byte++) {
    image.values[byte] = config.u8(byte);
    image.virt[byte] = 0;
    image.write[byte] = rule?.raw === true && byte >= at + header ? 0xff : 0;
  }
  if (rule?.fields === undefined) return;
  const fields = typeof rule.fields === 'function' ? rule.fields(config, at) : rule.fields;
  for (const field of fields) {
    // Tables describe the longest form; what this one does not have is not its to permit.
    if (field.offset + field.size <= Math.ceil(length / 4) * 4) permit(image, at, field);
  }
}

/**
 * Shows the conventional capabilities.
 *
 * @returns where each shown capability is, by id; the first one when there are several
 */
export function showCapabilities(image: ConfigImage, config: ConfigReader): Map<number, number> {
  const shown = new Map<number, number>();
  if ((config.u16(PCI.STATUS) & PCI_STATUS_CAP_LIST) === 0) return shown;
  let pointer: number = PCI.CAPABILITY_LIST;
  let at = config.u8(pointer) & 0xfc;
  // Capabilities are whole dwords, which bounds a list that loops.
  let left = (PCI_CFG_SPACE_SIZE - PCI_STD_HEADER_SIZE) / 4;
  image.values[pointer] = 0;
  while (at >= PCI_STD_HEADER_SIZE && left-- > 0) {
    const id = config.u8(at);
    const next = config.u8(at + 1) & 0xfc;
    const rule = CAPABILITIES.get(id);
    const length = ruleLength(rule, config, at);
    if (length > 0) {
      place(image, config, rule, at, length, 2);
      image.virt[at + 1] = 0xff;
      image.values[at + 1] = 0;
      image.values[pointer] = at;
      pointer = at + 1;
      if (!shown.has(id)) shown.set(id, at);
    }
    at = next;
  }
  if (shown.size === 0) image.values[PCI.STATUS]! &= ~PCI_STATUS_CAP_LIST;
  return shown;
}

/**
 * Shows the extended capabilities, which only a PCI Express function has.
 *
 * @returns where each shown capability is, by id; the first one when there are several
 */
export function showExtendedCapabilities(
  image: ConfigImage,
  config: ConfigReader,
  conventional: ReadonlyMap<number, number>,
): Map<number, number> {
  const shown = new Map<number, number>();
  const size = image.values.length;
  if (size <= PCI_CFG_SPACE_SIZE || !conventional.has(PCI_CAP_ID.EXP)) return shown;
  if (config.u32(PCI_CFG_SPACE_SIZE) === 0) return shown;
  const view = dataView(image.values);
  let previous: number | undefined;
  let at = PCI_CFG_SPACE_SIZE;
  let left = (size - PCI_CFG_SPACE_SIZE) / 4;
  while (at >= PCI_CFG_SPACE_SIZE && left-- > 0) {
    const header = config.u32(at);
    const id = header & 0xffff;
    const next = (header >>> 20) & 0xffc;
    const rule = EXTENDED_CAPABILITIES.get(id);
    const length = ruleLength(rule, config, at);
    const hidden = length === 0;
    // The first one cannot be skipped: an id of 0 takes its place.
    if (!hidden || previous === undefined) {
      place(image, config, rule, at, hidden ? PLACEHOLDER_SIZE : length, 4);
      permit(image, at, { offset: 0, size: 4, virt: 0xffff_ffff, write: 0 });
      view.setUint32(at, hidden ? 0 : header & 0xf_ffff, true);
      if (previous !== undefined)
        view.setUint32(previous, (view.getUint32(previous, true) | (at << 20)) >>> 0, true);
      previous = at;
      if (!hidden && !shown.has(id)) shown.set(id, at);
    }
    at = next;
  }
  return shown;
}
