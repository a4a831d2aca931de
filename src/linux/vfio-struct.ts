/**
 * Structures that cross ioctl(2), as data: the fields in order with their types; where each lies follows
 * by the alignment that C gives it.
 */

/** Types of fields; 64-bit ones are aligned to 8 bytes on every machine (`__aligned_u64`). */
const SIZES = { u16: 2, u32: 4, s32: 4, u64: 8 } as const;

/** The type of a field. */
export type FieldType = keyof typeof SIZES;
/** The fields of a structure in order. */
export type Fields = Readonly<Record<string, FieldType>>;

/** A structure of the uAPI. */
export interface StructLayout<F extends Fields = Fields> {
  /** Bytes, padding at the end included. */
  readonly size: number;
  readonly fields: {
    readonly [Name in keyof F]: { readonly offset: number; readonly type: F[Name] };
  };
}

/** What is put into a structure; fields that are left out are zero. */
export type StructInput<F extends Fields> = { readonly [Name in keyof F]?: number | bigint };

/** What is taken out of one: 64-bit fields as bigint. */
export type StructValues<F extends Fields> = {
  readonly [Name in keyof F]: F[Name] extends 'u64' ? bigint : number;
};

/** Lays out a structure. */
export function struct<const F extends Fields>(fields: F): StructLayout<F> {
  let at = 0;
  let alignment = 1;
  const placed: Record<string, { offset: number; type: FieldType }> = {};
  for (const [name, type] of Object.entries(fields)) {
    const size = SIZES[type];
    at = Math.ceil(at / size) * size;
    placed[name] = { offset: at, type };
    at += size;
    alignment = Math.max(alignment, size);
  }
  return {
    size: Math.ceil(at / alignment) * alignment,
    fields: placed as StructLayout<F>['fields'],
  };
}

/** Writes a structure at `at`. */
export function putStruct<F extends Fields>(
  view: DataView,
  at: number,
  layout: StructLayout<F>,
  values: StructInput<F>,
): void {
  for (const [name, { offset, type }] of Object.entries(layout.fields)) {
    const value = values[name] ?? 0;
    const place = at + offset;
    if (type === 'u64') view.setBigUint64(place, BigInt(value), true);
    else if (type === 'u16') view.setUint16(place, Number(value), true);
    else if (type === 's32') view.setInt32(place, Number(value), true);
    else view.setUint32(place, Number(value), true);
  }
}

/** Reads a structure at `at`. */
export function getStruct<F extends Fields>(
  view: DataView,
  at: number,
  layout: StructLayout<F>,
): StructValues<F> {
  const values: Record<string, number | bigint> = {};
  for (const [name, { offset, type }] of Object.entries(layout.fields)) {
    const place = at + offset;
    if (type === 'u64') values[name] = view.getBigUint64(place, true);
    else if (type === 'u16') values[name] = view.getUint16(place, true);
    else if (type === 's32') values[name] = view.getInt32(place, true);
    else values[name] = view.getUint32(place, true);
  }
  return values as StructValues<F>;
}

/** A structure in bytes of its own. */
export function encodeStruct<F extends Fields>(
  layout: StructLayout<F>,
  values: StructInput<F>,
): Uint8Array {
  const bytes = new Uint8Array(layout.size);
  putStruct(new DataView(bytes.buffer), 0, layout, values);
  return bytes;
}
