/** The lines of a hex dump: offset, sixteen bytes, what of them is ASCII. */
export function hexDump(bytes: Uint8Array, startOffset = 0): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, '0'));
    const halves = `${hex.slice(0, 8).join(' ').padEnd(23)}  ${hex.slice(8).join(' ').padEnd(23)}`;
    const text = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.'));
    lines.push(
      `${(startOffset + at).toString(16).padStart(8, '0')}  ${halves}  |${text.join('')}|`,
    );
  }
  return lines;
}
