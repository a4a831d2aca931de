import { Fault } from './fault.ts';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

/**
 * Parses a size as people write it: `4096`, `64K`, `512MiB`, `4G`, `0x1000` (binary units).
 *
 * @returns bytes, 0 to 2^53-1
 * @throws {Fault} EINVAL when the text is not a size
 * @example parseSize('512M') // 536870912
 */
export function parseSize(text: string): number {
  const match = /^(0x[0-9a-f]+|\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  const unit = UNITS[match?.[2]?.toUpperCase() ?? ''];
  const bytes = Number(match?.[1]) * (unit ?? Number.NaN);
  if (!Number.isSafeInteger(bytes))
    throw new Fault('EINVAL', `"${text}" is not a size`, {
      hint: 'write bytes or a binary unit, such as 4096, 64K, 512M or 4G',
    });
  return bytes;
}

/**
 * A size for people, in binary units with at most one decimal.
 *
 * @example formatSize(536870912) // '512 MiB'
 */
export function formatSize(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let step = 0;
  while (value >= 1024 && step < names.length - 1) {
    value /= 1024;
    step++;
  }
  const text = Number.isInteger(value) ? String(value) : value.toFixed(1);
  return `${text} ${names[step]}`;
}
