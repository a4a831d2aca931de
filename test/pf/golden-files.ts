import { readFileSync } from 'node:fs';

/** Bytes of a file below test/fixtures/golden. */
export function golden(path: string): Uint8Array {
  return readFileSync(new URL(`../fixtures/golden/${path}`, import.meta.url));
}

/** A JSON file below test/fixtures/golden. */
export function goldenJson<T>(path: string): T {
  return JSON.parse(Buffer.from(golden(path)).toString()) as T;
}
