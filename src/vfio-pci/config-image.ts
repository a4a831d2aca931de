import type { FieldPermission } from './config-permissions.ts';

/** Configuration space as a user sees it; one byte a byte of configuration space. */
export interface ConfigImage {
  /** Values of the virtual bits. */
  readonly values: Uint8Array;
  readonly virt: Uint8Array;
  readonly write: Uint8Array;
}

/** Sets the permissions of one field. */
export function permit(image: ConfigImage, start: number, field: FieldPermission): void {
  for (let byte = 0; byte < field.size; byte++) {
    const at = start + field.offset + byte;
    if (at >= image.virt.length) return;
    image.virt[at] = (field.virt >>> (8 * byte)) & 0xff;
    image.write[at] = (field.write >>> (8 * byte)) & 0xff;
  }
}
